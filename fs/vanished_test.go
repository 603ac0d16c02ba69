package fs

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/registry"
)

// Someone else's tag is gone from the next listing while nothing of ours was ever
// done to a tag: a manifest without one was deleted here a moment ago.
func TestTagThatVanishesBesideADeletionOfOurs(t *testing.T) {
	var r repository
	r.t = &tree{writable: &Writable{}}
	r.t.points, _ = lru.New[registry.Ref, dated](1)
	r.changedManifests.remove("sha256:untagged", 0)
	r.noteVanishedTags(tagList{{name: "v1"}, {name: "v2"}}, tagList{{name: "v2"}})
	if !r.changedTags.ghost("v1") {
		t.Error("whoever is removing the tag cannot go on")
	}
	if r.changedTags.ghost("v2") {
		t.Error("a tag that is still listed counts as gone")
	}
}

// TestRepositoryOfSignedImagesIsRemoved, whoever looked into the signatures
// before, which go with what they sign, and however long a listing is believed.
func TestRepositoryOfSignedImagesIsRemoved(t *testing.T) {
	for name, script := range map[string]string{
		"never looked into": "rm -r $R",
		"walked before":     "find $R >/dev/null; rm -r $R",
		"first the tags":    "rm -r $R/_tags; rm -r $R",
		"piece by piece":    "find $R >/dev/null; rm -r $R/_tags; rm -r $R/_manifests",
	} {
		for _, ttl := range []time.Duration{0, 30 * time.Millisecond, time.Hour} {
			t.Run(name+", "+ttl.String(), func(t *testing.T) {
				t.Parallel()
				var auditLog lockedBuffer
				w := mounted(t, Config{Writable: &Writable{Audit: &auditLog}, MetadataTTL: ttl})
				w.set(registry.Ref{Repository: helloWorld, Tag: "v1"}, registry.AccessPatch{CanDelete: new(true)})
				w.sign(helloWorld, "v2", "zstd", "latest")
				w.run(script)
				if n := w.manifestsOrNone(helloWorld); n != 0 {
					t.Errorf("%d manifests are left", n)
				}
				w.fails("ls $R | grep _", "") // what is below it may be there still
				if strings.Contains(auditLog.String(), "failed") {
					t.Errorf("the audit log calls something failed:\n%s", auditLog.String())
				}
			})
		}
	}
}

// sign pushes a signature of each tag's image, and one of that signature.
func (w *world) sign(repo string, tags ...string) {
	w.t.Helper()
	for _, tag := range tags {
		p, err := w.client.Properties(w.t.Context(), registry.Ref{Repository: repo, Tag: tag})
		if err != nil {
			w.t.Fatal(err)
		}
		w.referTo(repo, w.referTo(repo, p.Digest, "of "+tag), "of the signature")
	}
}

// TestRepositoryThatIsNotInTheCatalogYetIsRemoved, though nobody tells that it went
// with the signature that was its last manifest.
func TestRepositoryThatIsNotInTheCatalogYetIsRemoved(t *testing.T) {
	for name, before := range map[string]string{"never looked into": "true", "listed": "ls $M/new/_manifests", "walked": "find $M/new"} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
			w.run("ls $M")
			w.push("new", "v1", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[]}`))
			w.sign("new", "v1")
			w.run(before + "; rm -r $M/new")
			if n := w.manifestsOrNone("new"); n != 0 {
				t.Errorf("%d manifests are left", n)
			}
			w.fails("ls $M/new", "No such file")
		})
	}
}

// TestSignaturePushedAgainIsSentItsDeletion, although what it signs was deleted and
// the listing at hand is from before that.
func TestSignaturePushedAgainIsSentItsDeletion(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "zstd"})
	if err != nil {
		t.Fatal(err)
	}
	signature := w.referTo(helloWorld, subject.Digest, "signed")
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: helloWorld, Digest: signature})
	if err != nil {
		t.Fatal(err)
	}
	w.run("find $R/_manifests >/dev/null && rm -r $R/_manifests/" + subject.Digest.String())
	w.push(helloWorld, signature.String(), desc.MediaType, raw)
	w.run("rm -r $R/_manifests/" + signature.String())
	if n := w.requests(http.MethodDelete); n != 2 {
		t.Errorf("%d deletions were sent, want 2", n)
	}
	if _, left := w.manifests(helloWorld)[signature.String()]; left {
		t.Error("the signature is still there")
	}
}

// TestSignatureThatWentCostsNoDeletion of those that the mount may do.
func TestSignatureThatWentCostsNoDeletion(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{MaxDeletes: 1}})
	subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "zstd"})
	if err != nil {
		t.Fatal(err)
	}
	signature := w.referTo(helloWorld, subject.Digest, "signed")
	w.run("find $R/_manifests >/dev/null && cd $R/_manifests && rm -r " + subject.Digest.String() + " " + signature.String())
	if n := w.requests(http.MethodDelete); n != 1 {
		t.Errorf("%d deletions were sent, want 1", n)
	}
}

// lateRegistry still tells of a manifest that it no longer deletes.
type lateRegistry struct {
	Registry
	deletions int
}

func (l *lateRegistry) Properties(_ context.Context, ref registry.Ref) (registry.Properties, error) {
	return registry.Properties{Digest: ref.Digest, Access: registry.Access{Known: true, CanDelete: true, CanWrite: true, CanList: true, CanRead: true}}, nil
}

func (l *lateRegistry) Manifests(context.Context, string, registry.ListOptions) iter.Seq2[registry.Properties, error] {
	return func(func(registry.Properties, error) bool) {}
}

func (l *lateRegistry) Tags(context.Context, string, registry.ListOptions) iter.Seq2[registry.Tag, error] {
	return func(func(registry.Tag, error) bool) {}
}

func (l *lateRegistry) Delete(context.Context, registry.Ref) error {
	l.deletions++
	return errNotFound
}

// TestSignatureThatGoesALittleLateIsRemoved: a registry that has deleted the subject
// may take a moment to tell of its referrers.
func TestSignatureThatGoesALittleLateIsRemoved(t *testing.T) {
	var auditLog lockedBuffer
	late := &lateRegistry{}
	cfg, err := Config{Registry: late, Cache: newStore(t), Writable: &Writable{Audit: &auditLog}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tr := newTree(cfg)
	t.Cleanup(tr.life.close)
	subject := digest.FromString("the image")
	raw := []byte(`{"schemaVersion":2,"subject":{"digest":"` + subject.String() + `","size":1}}`)
	signature := tr.artifacts.keep(layOut(digest.FromBytes(raw), raw))
	r := tr.repository("app")
	e, _, err := r.manifest(t.Context(), signature.digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.deleteManifest(t.Context(), e); !errors.Is(err, errNotFound) {
		t.Errorf("whose subject nobody deleted: got %v, want errNotFound", err)
	}
	r.changedManifests.remove(subject.String(), 0)
	if err := r.deleteManifest(t.Context(), e); err != nil {
		t.Error(err)
	}
	if late.deletions != 2 || !strings.Contains(auditLog.String(), `"outcome":"done"`) {
		t.Errorf("%d deletions, want 2; audit log:\n%s", late.deletions, auditLog.String())
	}
}
