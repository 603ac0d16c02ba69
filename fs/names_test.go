package fs

import (
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func layer(content, title string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(content), Size: int64(len(content))}
	if title != "" {
		d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	}
	return d
}

func TestTitleIsUsedOnlyWhenSafe(t *testing.T) {
	for _, c := range []struct{ title, want string }{
		{"a.txt", "a.txt"},
		{"with space/and $dollar.txt", "with space/and $dollar.txt"},
		{"./a.txt", "a.txt"},
		{"a//b/./c", "a/b/c"},
		{"…/ünïcode", "…/ünïcode"},
		{"...", "..."},
		{"a..b", "a..b"},
		{`back\slash`, `back\slash`},
		{strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{"sub/manifest.json", "sub/manifest.json"},
		{"", ""},
		{".", ""},
		{"..", ""},
		{"../x", ""},
		{"a/../b", ""},
		{"/etc/passwd", ""},
		{"dir/", ""},
		{"a\nb", ""},
		{"a\x00b", ""},
		{"a\x7fb", ""},
		{"a\xffb", ""},
		{strings.Repeat("x", 256), ""},
		{strings.Repeat("x/", 600) + "x", ""},
		{"manifest.json", ""},
		{"config.json", ""},
		{"manifests", ""},
		{"manifests/linux-amd64", ""},
		{"config.json/x", ""},
	} {
		got, ok := titleOf(layer("x", c.title))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("titleOf(%q) = %q, %v; want %q", c.title, got, ok, c.want)
		}
	}
}

// FuzzTitle: whatever a registry writes into a title, what comes out can be
// walked to below the artifact and nowhere else.
func FuzzTitle(f *testing.F) {
	for _, seed := range []string{"a", "../a", "/a", "a/", "./a//b", "a\x00", "manifests/x", "é/\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, title string) {
		got, ok := titleOf(layer("x", title))
		if !ok {
			if got != "" {
				t.Fatalf("refused title gave %q", got)
			}
			return
		}
		if got != path.Clean(got) || strings.HasPrefix(got, "/") || strings.ContainsAny(got, "\x00\n") {
			t.Fatalf("titleOf(%q) = %q", title, got)
		}
		for part := range strings.SplitSeq(got, "/") {
			if part == "" || part == "." || part == ".." || len(part) > maxComponent {
				t.Fatalf("titleOf(%q) has the component %q", title, part)
			}
		}
	})
}

func TestExtensionSaysHowToOpenALayer(t *testing.T) {
	for mediaType, want := range map[string]string{
		"application/vnd.oci.image.layer.v1.tar+gzip":                  ".tar.gz",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": ".tar.gz",
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            ".tar.gz",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    ".tar.gz",
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip":          ".tar.gz",
		"application/vnd.oci.image.layer.v1.tar+zstd":                  ".tar.zst",
		"application/vnd.oci.image.layer.v1.tar":                       ".tar",
		"application/vnd.docker.image.rootfs.diff.tar":                 ".tar",
		"application/vnd.oci.image.config.v1+json":                     ".json",
		"application/json; charset=utf-8":                              ".json",
		"application/wasm":                                             ".wasm",
		"application/vnd.module.wasm.content.layer.v1+wasm":            ".wasm",
		"application/octet-stream":                                     "",
		"":                                                             "",
		"application/vnd.acme.guitar":                                  "",
	} {
		if got := extension(mediaType); got != want {
			t.Errorf("extension(%q) = %q, want %q", mediaType, got, want)
		}
	}
}

func TestNamesOfLayers(t *testing.T) {
	hex := func(content string) string { return digest.FromString(content).Encoded() + ".tar.gz" }
	for _, c := range []struct {
		name   string
		layers []ocispec.Descriptor
		want   []string
	}{
		{"no title", []ocispec.Descriptor{layer("a", "")}, []string{hex("a")}},
		{"a digest that repeats without a title appears once",
			[]ocispec.Descriptor{layer("a", ""), layer("a", "")}, []string{hex("a"), ""}},
		{"two titles on one blob are two names",
			[]ocispec.Descriptor{layer("a", "x"), layer("a", "y")}, []string{"x", "y"}},
		{"the same title on the same blob is one name",
			[]ocispec.Descriptor{layer("a", "x"), layer("a", "x")}, []string{"x", ""}},
		{"a title that is taken", []ocispec.Descriptor{layer("a", "x"), layer("b", "x")}, []string{"x", hex("b")}},
		{"a title that is a folder of another", []ocispec.Descriptor{layer("a", "x/y"), layer("b", "x")}, []string{"x/y", hex("b")}},
		{"a title inside a file", []ocispec.Descriptor{layer("a", "x"), layer("b", "x/y/z")}, []string{"x", hex("b")}},
		{"an unsafe title", []ocispec.Descriptor{layer("a", "../x")}, []string{hex("a")}},
		{"a title that takes another layer's digest name",
			[]ocispec.Descriptor{layer("a", hex("b")), layer("b", "")}, []string{hex("a"), hex("b")}},
		{"a folder named like another layer's digest name",
			[]ocispec.Descriptor{layer("a", hex("b")+"/x"), layer("b", "")}, []string{hex("a"), hex("b")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := newNamer(c.layers)
			var got []string
			for _, l := range c.layers {
				got = append(got, names.name(l))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTitlesMakeABoundedNumberOfFolders: a manifest must not take much more memory
// than it is weighed as, however deep its titles are. Layers beyond the bound are
// there by their digest.
func TestTitlesMakeABoundedNumberOfFolders(t *testing.T) {
	var layers []string
	for i := range 200 {
		n := strconv.Itoa(i)
		layers = append(layers, desc(layer(n, n+"/"+strings.Repeat("d/", 490)+"f")))
	}
	layers = append(layers, desc(layer("last", "0/d/g"))) // in folders that are there
	a := lay(t, `{"layers":[`+strings.Join(layers, ",")+`]}`)
	folders, files := 0, 0
	var count func(f *folder)
	count = func(f *folder) {
		for _, e := range f.entries {
			if e.kind == entryFolder {
				folders++
				count(e.folder)
			} else {
				files++
			}
		}
	}
	count(a.root)
	if folders == 0 || folders > maxFolders || a.weight() < int64(folders)*512 {
		t.Errorf("%d folders, weighed as %d bytes; %d may be", folders, a.weight(), maxFolders)
	}
	_, known := a.root.below("0/d").find("g")
	beyond := layer("199", "")
	_, byDigest := a.root.find(digestName(beyond.Digest, beyond.MediaType))
	if files != 1+len(layers) || !known || !byDigest {
		t.Errorf("%d files, want the manifest and all %d layers; in a folder that is there: %t, beyond the bound: %t", files, len(layers), known, byDigest)
	}
}

func TestDigestIsReadInBothSpellings(t *testing.T) {
	hex := digest.FromString("x").Encoded()
	for name, want := range map[string]digest.Digest{
		"sha256:" + hex:                      digest.FromString("x"),
		"sha256-" + hex:                      digest.FromString("x"),
		"sha512-" + strings.Repeat("0", 128): digest.Digest("sha512:" + strings.Repeat("0", 128)),
		"sha256_" + hex:                      "",
		"sha256:" + hex + "0":                "",
		"sha256:" + strings.ToUpper(hex):     "",
		"sha256":                             "",
		"md5:" + hex[:32]:                    "",
		"":                                   "",
		"..":                                 "",
	} {
		got, ok := parseDigest(name)
		if ok != (want != "") || ok && got != want {
			t.Errorf("parseDigest(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
}

func TestPlatformNames(t *testing.T) {
	for _, c := range []struct {
		platform *ocispec.Platform
		want     string
	}{
		{&ocispec.Platform{OS: "linux", Architecture: "amd64"}, "linux-amd64"},
		{&ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, "linux-arm-v7"},
		{&ocispec.Platform{OS: "unknown", Architecture: "unknown"}, ""},
		{&ocispec.Platform{OS: "linux"}, ""},
		{&ocispec.Platform{OS: "..", Architecture: "/"}, ""},
		{&ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "a/b"}, ""},
		{nil, ""},
	} {
		got, ok := platformName(c.platform)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("platformName(%+v) = %q, %v; want %q", c.platform, got, ok, c.want)
		}
	}
}

func TestNamesOfComponents(t *testing.T) {
	for name, want := range map[string]bool{
		"library": true, "hello-world": true, "a.b_c__d": true, "0": true,
		"_tags": false, "-a": false, "A": false, "a/b": false, "a..b": false, "": false, ".": false, "..": false,
		".git": false, strings.Repeat("a", 256): false,
	} {
		if got := validComponent(name); got != want {
			t.Errorf("validComponent(%q) = %v", name, got)
		}
	}
}
