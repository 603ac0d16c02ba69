package fs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// images are the names of what a tag's index points to.
func (w *world) images(tag string) []string {
	w.t.Helper()
	return strings.Fields(w.run("for l in $R/_tags/" + tag + "/manifests/*; do basename $(readlink $l); done"))
}

func TestImagesOfAHiddenIndexAreKept(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	images := w.images("v2")
	p, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(registry.Ref{Repository: helloWorld, Digest: p.Digest}, noList)
	w.m.Refresh()
	w.fails("ls $R/_manifests | grep "+p.Digest.String(), "")
	for _, image := range images {
		w.fails("rm -r $R/_manifests/"+image, "Device or resource busy")
	}
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	w.run("rm -r $R/_tags/v2 $R/_tags/latest && rm -r $R/_manifests/" + images[0]) // nothing holds it now
}

func TestLockThatWasSetJustNowKeepsTheSubject(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.fails("rm -r $R/_manifests/"+w.images("v2")[0], "busy") // what is live is known from here on
	script := `cd $R/_manifests; for m in *; do getfattr --only-values -n user.oci.subject $m/manifest.json >/dev/null 2>&1 && echo $m && break; done`
	referrer := w.run(script)
	subject := w.run("getfattr --absolute-names --only-values -n user.oci.subject $R/_manifests/" + referrer + "/manifest.json")
	w.run("setfattr -n user.acr.can_delete -v false $R/_manifests/" + referrer)
	w.fails("rm -r $R/_manifests/"+subject, "busy")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	if want := "referrer " + referrer + ", held by a lock"; !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	w.run("setfattr -n user.acr.can_delete -v true $R/_manifests/" + referrer + " && rm -r $R/_manifests/" + subject)
}

func TestSignatureThatWentWithItsSubjectCanStillBeRemoved(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 50 * time.Millisecond})
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1")
	script := `cd $R/_manifests; for m in *; do getfattr --only-values -n user.oci.subject $m/manifest.json >/dev/null 2>&1 && echo $m && break; done`
	referrer := w.run(script)
	subject := w.run("getfattr --absolute-names --only-values -n user.oci.subject $R/_manifests/" + referrer + "/manifest.json")
	w.run("rm -r $R/_manifests/" + subject + "; sleep 0.1; ! ls $R/_manifests | grep " + referrer) // asks again, and it is not there
	deleted := w.requests(http.MethodDelete)
	w.run("sleep 0.1; rm -r $R/_manifests/" + referrer) // by whoever had seen it
	w.fails("rm -r $R/_manifests/"+referrer, "No such file")
	w.fails("ls $R/_manifests/sha256:"+strings.Repeat("0", 64), "No such file") // which never was
	if n := w.requests(http.MethodDelete); n != deleted {
		t.Errorf("%d more deletions were sent", n-deleted)
	}
}

// TestSignatureThatWasUnlockedHereAndWentWithItsSubjectCanStillBeRemoved: that it
// is known for its flags makes no difference.
func TestSignatureThatWasUnlockedHereAndWentWithItsSubjectCanStillBeRemoved(t *testing.T) {
	for name, forget := range map[string]func(*Mounted){"its flags are known": func(*Mounted) {}, "refreshed": (*Mounted).Refresh} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}})
			subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "zstd"})
			if err != nil {
				t.Fatal(err)
			}
			signature := w.referTo(helloWorld, subject.Digest, "signed")
			w.set(registry.Ref{Repository: helloWorld, Digest: signature}, noDelete)
			w.run("setfattr -n user.acr.can_delete -v true $R/_manifests/" + signature.String())
			forget(w.m)
			w.run("cd $R/_manifests && ls && rm -r " + subject.Digest.String() + " && ! ls | grep " + signature.String())
			deleted := w.requests(http.MethodDelete)
			w.run("rm -r $R/_manifests/" + signature.String())
			w.fails("rm -r $R/_manifests/"+signature.String(), "No such file")
			if n := w.requests(http.MethodDelete); n != deleted {
				t.Errorf("%d more deletions were sent", n-deleted)
			}
		})
	}
}

// referTo pushes an artifact that refers to a subject, without a tag.
func (w *world) referTo(repo string, subject digest.Digest, note string) digest.Digest {
	w.t.Helper()
	raw, desc, err := w.client.Manifest(w.t.Context(), registry.Ref{Repository: repo, Digest: subject})
	if err != nil {
		w.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		w.t.Fatal(err)
	}
	m["subject"] = map[string]any{"mediaType": desc.MediaType, "digest": subject, "size": len(raw)}
	m["annotations"] = map[string]string{"note": note}
	referrer, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	d := digest.FromBytes(referrer)
	w.push(repo, d.String(), desc.MediaType, referrer)
	return d
}

// TestWhatALockKeepsIsKeptWithAllItRefersTo: deleting a subject takes the
// referrers of its referrers along, and with a manifest its tags. The registry
// might refuse that by itself, or not.
func TestWhatALockKeepsIsKeptWithAllItRefersTo(t *testing.T) {
	const repo = "charts/hello"
	for name, lock := range map[string]func(w *world, referrer digest.Digest) (item string){
		"on the referrer": func(w *world, referrer digest.Digest) string {
			w.set(registry.Ref{Repository: repo, Digest: referrer}, noDelete)
			return "_manifests/" + referrer.String()
		},
		"on its tag": func(w *world, referrer digest.Digest) string {
			raw, desc, err := w.client.Manifest(w.t.Context(), registry.Ref{Repository: repo, Digest: referrer})
			if err != nil {
				w.t.Fatal(err)
			}
			w.push(repo, "kept", desc.MediaType, raw)
			w.set(registry.Ref{Repository: repo, Tag: "kept"}, noDelete)
			return "_tags/kept"
		},
	} {
		t.Run(name, func(t *testing.T) { keepsAll(t, Writable{}, "Device or resource busy", lock) })
		// Who may leave orphans may not lift locks.
		t.Run(name+", orphaning", func(t *testing.T) { keepsAll(t, Writable{AllowOrphaning: true}, "Operation not permitted", lock) })
	}
}

// TestWhatALockKeepsAndNobodyMayReadKeepsTheSubject: it might refer to anything,
// by itself or by what refers to it.
func TestWhatALockKeepsAndNobodyMayReadKeepsTheSubject(t *testing.T) {
	const repo = "models/tiny"
	noRead := registry.AccessPatch{CanRead: &no}
	for name, freeze := range map[string]func(w *world, first registry.Ref){
		"the referrer": func(w *world, first registry.Ref) {
			w.set(first, noDelete)
			w.set(first, noRead)
		},
		"what it refers to": func(w *world, first registry.Ref) {
			second := registry.Ref{Repository: repo, Digest: w.referTo(repo, first.Digest, "of the signature")}
			w.set(second, noDelete)
			w.set(first, noRead)
		},
	} {
		for _, writable := range []Writable{{}, {AllowOrphaning: true}} {
			t.Run(fmt.Sprintf("%s, orphaning: %v", name, writable.AllowOrphaning), func(t *testing.T) {
				w := mounted(t, Config{Writable: &writable})
				subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
				if err != nil {
					t.Fatal(err)
				}
				first := registry.Ref{Repository: repo, Digest: w.referTo(repo, subject.Digest, "signature")}
				freeze(w, first)
				w.fails("rm -r $M/models/tiny/_manifests/"+subject.Digest.String(), "Operation not permitted")
				if n := w.requests(http.MethodDelete); n != 0 {
					t.Errorf("%d deletions were sent", n)
				}
				if want := "what " + first.Digest.String() + " refers to"; !strings.Contains(w.log.String(), want) {
					t.Errorf("the log does not say %q", want)
				}
			})
		}
	}
}

// TestLockSetByOthersKeepsTheSubject although the tags were listed before it was
// set, and are believed for an hour.
func TestLockSetByOthersKeepsTheSubject(t *testing.T) {
	const repo = "models/tiny"
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Digest: w.referTo(repo, subject.Digest, "signature")})
	if err != nil {
		t.Fatal(err)
	}
	w.push(repo, "signature", desc.MediaType, raw)
	r := w.m.tree.repository(repo)
	w.run("ls $M/models/tiny/_tags")
	if _, _, err := r.relatedNow(t.Context()); err != nil { // what is live is known
		t.Fatal(err)
	}
	w.set(registry.Ref{Repository: repo, Tag: "signature"}, noDelete)
	age(r.tags, liveTrust)
	r.relations.mu.Lock()
	r.relations.tags = r.tags.last().at
	r.relations.mu.Unlock()
	w.fails("rm -r $M/models/tiny/_manifests/"+subject.Digest.String(), "busy")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
}

// keepsAll refuses the deletion of all that a referrer of a referrer needs.
func keepsAll(t *testing.T, writable Writable, words string, lock func(w *world, referrer digest.Digest) (item string)) {
	const repo = "charts/hello"
	w := mounted(t, Config{Writable: &writable})
	subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	first := w.referTo(repo, subject.Digest, "of the chart")
	second := w.referTo(repo, first, "of what refers to the chart")
	item := lock(w, second)
	w.run("rm -r $M/" + repo + "/_tags/0.1.0")
	for _, d := range []digest.Digest{subject.Digest, first} {
		w.fails("rm -r $M/"+repo+"/_manifests/"+d.String(), words)
	}
	if n := w.requests(http.MethodDelete); n != 1 {
		t.Errorf("%d deletions were sent, want that of the tag", n)
	}
	if want := "referrer " + second.String(); !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	// Lifted here, it is lifted at once.
	w.run("setfattr -n user.acr.can_delete -v true $M/" + repo + "/" + item + " && rm -r $M/" + repo + "/_manifests/" + subject.Digest.String())
	if left := w.manifestsOrNone(repo); left != 0 {
		t.Errorf("%d manifests are left", left)
	}
}

// TestRefusalOfWhatListingsNoLongerHaveIsNoSuccess: what a listing lacks may
// have gone with something that was deleted here, or was taken out of listings by someone.
func TestRefusalOfWhatListingsNoLongerHaveIsNoSuccess(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 100 * time.Millisecond})
	image := w.images("v2")[0]
	w.run("ls $R/_manifests | grep " + image)
	w.set(registry.Ref{Repository: helloWorld, Digest: digest.Digest(image)}, noList)
	w.run("rm -r $R/_manifests/$(getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/zstd)")
	w.run("sleep 0.2; ! ls $R/_manifests | grep " + image)
	w.fails("rm -r $R/_manifests/"+image, "Device or resource busy")
	w.run("ls $R/_manifests/" + image + "/manifest.json")
}

// TestTagsOfWhatWentWithItsSubjectGoToo at the next look, and can be removed by
// whoever saw them.
func TestTagsOfWhatWentWithItsSubjectGoToo(t *testing.T) {
	for name, look := range map[string]string{"with a look": "! ls $R/_tags | grep -x sig", "without": "true"} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
			subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "zstd"})
			if err != nil {
				t.Fatal(err)
			}
			raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: helloWorld, Digest: w.referTo(helloWorld, subject.Digest, "signed")})
			if err != nil {
				t.Fatal(err)
			}
			w.push(helloWorld, "sig", desc.MediaType, raw)
			w.run("ls $R/_tags | grep -x sig && ls $R/_tags/sig && rm -r $R/_manifests/" + subject.Digest.String() + " && " + look)
			w.run("rm -r $R/_tags/sig $R/_tags/zstd")
			w.fails("rm -r $R/_tags/sig", "No such file")
			w.run("ls $R/_tags | grep -x v1")
		})
	}
}
