package fs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// paths lists an artifact's tree in listing order.
func paths(f *folder, prefix string) []string {
	var all []string
	for _, e := range f.entries {
		switch e.kind {
		case entryFolder:
			all = append(all, prefix+e.name+"/")
			all = append(all, paths(e.folder, prefix+e.name+"/")...)
		case entryLink:
			all = append(all, prefix+e.name+" -> "+e.digest.String()[:12])
		default:
			all = append(all, prefix+e.name)
		}
	}
	return all
}

func lay(t *testing.T, manifest string) *artifact {
	t.Helper()
	raw := []byte(manifest)
	return layOut(digest.FromBytes(raw), raw)
}

func desc(d ocispec.Descriptor) string {
	raw, _ := json.Marshal(d)
	return string(raw)
}

func TestLayoutOfEveryKindOfManifest(t *testing.T) {
	conf := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("config"), Size: 6}
	amd64 := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("amd64"), Size: 5, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	again := amd64
	again.Digest = digest.FromString("again")
	attestation := ocispec.Descriptor{Digest: digest.FromString("att"), Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}}
	hexA := digest.FromString("a").Encoded()

	for _, c := range []struct {
		name, manifest string
		want           []string
		mediaType      string
	}{
		{"image", `{"config":` + desc(conf) + `,"layers":[` + desc(layer("a", "")) + `,` + desc(layer("b", "dir/sub/b.txt")) + `,` + desc(layer("c", "dir/c.txt")) + `]}`,
			[]string{"manifest.json", "config.json", hexA + ".tar.gz", "dir/", "dir/sub/", "dir/sub/b.txt", "dir/c.txt"}, ocispec.MediaTypeImageManifest},
		{"config and layer at once", `{"config":` + desc(conf) + `,"layers":[` + desc(conf) + `]}`,
			[]string{"manifest.json", "config.json", conf.Digest.Encoded() + ".json"}, ocispec.MediaTypeImageManifest},
		{"index", `{"manifests":[` + desc(amd64) + `,` + desc(again) + `,` + desc(attestation) + `]}`,
			[]string{"manifest.json", "manifests/", "manifests/linux-amd64 -> " + amd64.Digest.String()[:12],
				"manifests/" + again.Digest.String() + " -> " + again.Digest.String()[:12],
				"manifests/" + attestation.Digest.String() + " -> " + attestation.Digest.String()[:12]}, ocispec.MediaTypeImageIndex},
		{"cache of BuildKit's", `{"manifests":[` + desc(layer("a", "")) + `,` + desc(ocispec.Descriptor{MediaType: "application/vnd.buildkit.cacheconfig.v0", Digest: conf.Digest, Size: 6}) + `]}`,
			[]string{"manifest.json", hexA + ".tar.gz", conf.Digest.Encoded(), "manifests/"}, ocispec.MediaTypeImageIndex},
		{"empty index", `{"manifests":[]}`, []string{"manifest.json", "manifests/"}, ocispec.MediaTypeImageIndex},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[{"blobSum":"` + layer("a", "").Digest.String() + `"},{"blobSum":"` + layer("a", "").Digest.String() + `"}],"signatures":[]}`,
			[]string{"manifest.json", hexA + ".tar.gz"}, mediaTypeSignedSchema1},
		{"ORAS artifact", `{"mediaType":"application/vnd.cncf.oras.artifact.manifest.v1+json","blobs":[` + desc(layer("a", "a.txt")) + `]}`,
			[]string{"manifest.json", "a.txt"}, "application/vnd.cncf.oras.artifact.manifest.v1+json"},
		{"custom type", `{"mediaType":"application/x.custom+json","layers":"no list","config":7}`,
			[]string{"manifest.json"}, "application/x.custom+json"},
		{"no JSON", `hello`, []string{"manifest.json"}, ""},
		{"bad digests are left out", `{"config":{"digest":"sha256:zz"},"layers":[{"digest":"../../etc"},` + desc(layer("a", "")) + `,7]}`,
			[]string{"manifest.json", hexA + ".tar.gz"}, ocispec.MediaTypeImageManifest},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := lay(t, c.manifest)
			if diff := cmp.Diff(c.want, paths(a.root, "")); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if a.parsed.mediaType != c.mediaType {
				t.Errorf("media type %q, want %q", a.parsed.mediaType, c.mediaType)
			}
		})
	}
}

// FuzzManifest: no manifest breaks the layout, and every name in it can be
// found and is a safe file name.
// TestSizeThatIsNoneIsAskedFor: the layer is there, as with one that is missing.
func TestSizeThatIsNoneIsAskedFor(t *testing.T) {
	blob := layer("a", "").Digest.String()
	for _, size := range []string{`9223372036854775808`, `1e18`, `1.5`, `"5"`, `null`, `{}`, `-9223372036854775809`} {
		odd := `{"mediaType":"text/plain","digest":"` + blob + `","size":` + size + `,"annotations":{"org.opencontainers.image.title":"a.txt"},"platform":7}`
		a := lay(t, `{"config":`+odd+`,"layers":[`+odd+`],"manifests":[`+odd+`],"subject":`+odd+`}`)
		for _, name := range []string{"config.json", "a.txt"} {
			if e, ok := a.root.find(name); !ok || e.size > 0 || e.digest.String() != blob {
				t.Errorf("size %s: %s is %+v, %t", size, name, e, ok)
			}
		}
		if len(a.parsed.children) != 1 || a.parsed.subject == nil {
			t.Errorf("size %s: %d children, subject %v", size, len(a.parsed.children), a.parsed.subject)
		}
	}
	a := lay(t, `{"layers":[{"digest":"`+blob+`","size":5,"annotations":{"org.opencontainers.image.title":7}}]}`)
	if want := []string{"manifest.json", layer("a", "").Digest.Encoded()}; !cmp.Equal(want, paths(a.root, "")) {
		t.Errorf("a title that is none: got %q, want %q", paths(a.root, ""), want)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(`{"config":{"digest":"sha256:` + strings.Repeat("0", 64) + `"},"layers":[{"digest":"sha256:` + strings.Repeat("1", 64) + `","annotations":{"org.opencontainers.image.title":"a/b"}}]}`)
	f.Add(`{"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","platform":{"os":"a","architecture":"../b"}}]}`)
	f.Add(`{"fsLayers":[{"blobSum":"sha256:` + strings.Repeat("0", 64) + `"}]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, manifest string) {
		raw := []byte(manifest)
		a := layOut(digest.FromBytes(raw), raw)
		var walk func(dir string, f *folder)
		walk = func(dir string, f *folder) {
			if a.root.below(dir) != f {
				t.Fatalf("folder %q is not found", dir)
			}
			for _, e := range f.entries {
				if got, ok := f.find(e.name); !ok || got.digest != e.digest {
					t.Fatalf("entry %q of %q is not found", e.name, dir)
				}
				if e.name == "" || e.name == "." || e.name == ".." || strings.ContainsAny(e.name, "/\x00") || len(e.name) > maxComponent {
					t.Fatalf("bad name %q", e.name)
				}
				if e.kind == entryFolder {
					walk(join(dir, e.name), e.folder)
				}
			}
		}
		walk("", a.root)
		listable(a.xattrs())
	})
}
