package integration

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// TestForeignORASFindsReferrers pushes signatures and SBOMs and asks for them.
func TestForeignORASFindsReferrers(t *testing.T) {
	s := newLocalACR(t)
	subject := fixture.Image("amd64", "", "1")
	const signature, sbom = "application/vnd.example.signature", "application/spdx+json"
	pushWith(t, pushWithORAS, s, "app", "v1", subject)
	want := map[string][]string{}
	for i := range 3 {
		for _, kind := range []string{signature, sbom} {
			referrer := fixture.Referrer(subject, kind, "file", fmt.Sprint(kind, i))
			pushWith(t, pushWithORAS, s, "app", "", referrer)
			want[kind] = append(want[kind], referrer.Digest.String())
		}
	}
	repository, err := orasRepository(s, "app")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{signature, sbom} {
		var got []string
		err := repository.Referrers(t.Context(), subject.Descriptor(), kind, func(found []ocispec.Descriptor) error {
			for _, d := range found {
				if d.ArtifactType != kind || d.Annotations["org.example.note"] == "" {
					t.Errorf("a referrer of type %q with annotations %v, want %q", d.ArtifactType, d.Annotations, kind)
				}
				got = append(got, d.Digest.String())
			}
			return nil
		})
		if diff := cmp.Diff(sorted(want[kind]), sorted(got)); err != nil || diff != "" {
			t.Errorf("referrers of type %s: %v (-want +got):\n%s", kind, err, diff)
		}
	}
	// Had the server not said that it keeps referrers, the client would have
	// kept them itself, under a tag.
	if n := s.gate.count(func(r *record) bool {
		return r.Method == "PUT" && bytes.Contains([]byte(r.Path), []byte("/manifests/sha256-"))
	}); n > 0 {
		t.Errorf("the client fell back to the referrers tag %d times", n)
	}
	got := 0
	if err := repository.Referrers(t.Context(), fixture.Chart("none").Descriptor(), "", func(found []ocispec.Descriptor) error {
		got += len(found)
		return nil
	}); err != nil || got != 0 {
		t.Errorf("referrers of what does not exist: %d, %v", got, err)
	}
}

// TestForeignORASKeepsReferrersItself has the client keep the lists of referrers
// under tags, as the distribution spec says: because it was told to, and because
// the registry does not have the API.
func TestForeignORASKeepsReferrersItself(t *testing.T) {
	for name, config := range map[string]localacr.Config{"told to": {}, "found out": {NoReferrers: true}} {
		t.Run(name, func(t *testing.T) {
			config.Root = t.TempDir()
			s := startLocalACR(t, config)
			fresh := func() *orasremote.Repository {
				repository, err := orasRepository(s, "app")
				if err == nil && name == "told to" {
					err = repository.SetReferrersCapability(false)
				}
				if err != nil {
					t.Fatal(err)
				}
				return repository
			}
			subject := fixture.Image("amd64", "", "1")
			pushWith(t, pushWithORAS, s, "app", "v1", subject)
			var want []string
			var referrers []*fixture.Manifest
			for i := range 3 {
				m := fixture.Referrer(subject, "application/vnd.example.signature", "file", fmt.Sprint(i))
				if err := oras.CopyGraph(t.Context(), orasSource(m), fresh(), m.Descriptor(), oras.CopyGraphOptions{
					// The subject is there already.
					FindSuccessors: func(ctx context.Context, f content.Fetcher, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
						next, err := content.Successors(ctx, f, d)
						return slices.DeleteFunc(next, func(d ocispec.Descriptor) bool { return d.Digest == subject.Digest }), err
					},
				}); err != nil {
					t.Fatal(err)
				}
				referrers = append(referrers, m)
				want = append(want, m.Digest.String())
			}
			check := func() {
				t.Helper()
				var got []string
				err := fresh().Referrers(t.Context(), subject.Descriptor(), "", func(found []ocispec.Descriptor) error {
					for _, d := range found {
						got = append(got, d.Digest.String())
					}
					return nil
				})
				if diff := cmp.Diff(sorted(slices.Clone(want)), sorted(got)); err != nil || diff != "" {
					t.Errorf("referrers: %v (-want +got):\n%s", err, diff)
				}
			}
			check()
			tag := strings.Replace(subject.Digest.String(), ":", "-", 1)
			if _, err := fresh().Resolve(t.Context(), tag); err != nil {
				t.Errorf("the list of referrers is not under %s: %v", tag, err)
			}
			// The client takes a referrer out of its list, and its old lists away.
			if err := fresh().Delete(t.Context(), referrers[0].Descriptor()); err != nil {
				t.Fatal(err)
			}
			want = want[1:]
			check()
			token := curlToken(t, s, "repository:app:metadata_read")
			_, _, body := curl(t, s, "/acr/v1/app", "--header", "Authorization: Bearer "+token)
			// The subject, two referrers and one list; two tags.
			if !strings.Contains(body, `"manifestCount":4,"tagCount":2`) {
				t.Errorf("left in the repository: %s", body)
			}
		})
	}
}

// TestForeignORASExtendedCopy copies an artifact with all that refers to it.
func TestForeignORASExtendedCopy(t *testing.T) {
	s := newLocalACR(t)
	subject := fixture.MultiArch("1")
	referrer := fixture.Referrer(subject, "application/vnd.example.signature", "sig", "signed")
	second := fixture.Referrer(referrer, "application/vnd.example.timestamp", "time", "countersigned")
	pushWith(t, pushWithORAS, s, "app", "v1", subject)
	pushWith(t, pushWithORAS, s, "app", "", referrer)
	pushWith(t, pushWithORAS, s, "app", "", second)
	from, err := orasRepository(s, "app")
	if err != nil {
		t.Fatal(err)
	}
	target := memory.New()
	if _, err := oras.ExtendedCopy(t.Context(), from, "v1", target, "", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatal(err)
	}
	for _, m := range append(family(subject), referrer, second) {
		d := m.Descriptor()
		d.Platform = nil
		if ok, err := target.Exists(t.Context(), d); err != nil || !ok {
			t.Errorf("%s was not copied: %v", m.Digest, err)
		}
	}
	// And into another repository of the same registry.
	to, err := orasRepository(s, "copy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.ExtendedCopy(t.Context(), from, "v1", to, "v1", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatal(err)
	}
	checkPulled(t, s, "copy", "v1", subject)
	checkPulled(t, s, "copy", "", second)
}

// TestForeignORASNestedIndexes pushes an index of indexes and what a
// conformance run would.
func TestForeignORASNestedIndexes(t *testing.T) {
	s := newLocalACR(t)
	nested := fixture.Index(ocispec.MediaTypeImageIndex, fixture.MultiArch("1"), fixture.ManifestList("1"), fixture.Artifact("application/vnd.example", "x"))
	data := fixture.Build(fixture.Spec{
		Config: fixture.Part{MediaType: "application/vnd.example.config", Blob: fixture.Text("")},
		Extra:  map[string]any{"org.example.custom": map[string]any{"kept": true}},
	})
	missingSubject := fixture.Referrer(fixture.Chart("never pushed"), "application/vnd.example.signature", "sig", "signed")
	for tag, m := range map[string]*fixture.Manifest{"nested": nested, "no-layers": data} {
		pushWith(t, pushWithORAS, s, "odd", tag, m)
		checkPulled(t, s, "odd", tag, m)
	}
	push(t, s, "odd", "missing-subject", missingSubject)
	checkPulled(t, s, "odd", "missing-subject", missingSubject)
}

// TestForeignORASDeletes deletes a manifest and a blob.
func TestForeignORASDeletes(t *testing.T) {
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	pushWith(t, pushWithORAS, s, "app", "v1", chart)
	repository, err := orasRepository(s, "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.Delete(t.Context(), chart.Descriptor()); err != nil {
		t.Errorf("delete manifest: %v", err)
	}
	if _, err := repository.Resolve(t.Context(), "v1"); err == nil {
		t.Error("the tag outlived its manifest")
	}
	blob := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: chart.Blobs[0].Digest, Size: chart.Blobs[0].Size}
	if err := repository.Blobs().Delete(t.Context(), blob); err != nil {
		t.Errorf("delete blob: %v", err)
	}
	if ok, err := repository.Blobs().Exists(t.Context(), blob); err != nil || ok {
		t.Errorf("the deleted blob exists: %t, %v", ok, err)
	}
}
