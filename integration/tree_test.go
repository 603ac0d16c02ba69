package integration

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/integration/fixture"
)

// holding is an artifact in a registry: where it is, and who pushed it.
type holding struct {
	repo, tag string
	m         *fixture.Manifest
	with      func(context.Context, *server, string, string, *fixture.Manifest) error
}

// collection is a registry's worth of artifacts: every kind there is, in
// repositories nested in repositories, by every client that can push it.
func collection() []holding {
	v1, v2 := fixture.MultiArch("1"), fixture.MultiArch("2")
	hello := "library/hello-world"
	return []holding{
		{"library", "readme", fixture.Files("README.md", "the library"), pushWithORAS},
		{hello, "v1", v1, pushWithGGCR},
		{hello, "v2", v2, pushWithGGCR},
		{hello, "latest", v2, pushWithSDK},
		{hello, "docker", fixture.ManifestList("1"), pushWithSDK},
		{hello, "single", fixture.Image("amd64", "", "1"), pushWithORAS},
		{hello, "", fixture.Artifact("application/vnd.example.untagged", "no tag"), pushWithGGCRRaw},
		{hello, "signature", fixture.Referrer(v1, "application/vnd.example.signature", "signature.p7s", "signed"), pushWithGGCRRaw},
		{hello, "", fixture.Referrer(v1, "application/spdx+json", "sbom.spdx.json", "{}"), pushWithGGCRRaw},
		{hello + "/docs", "latest", fixture.Titles(), pushWithORAS},
		{hello + "/docs", "types", fixture.MediaTypes(), pushWithSDK},
		{"charts/demo", "1.0.0", fixture.Chart("1.0.0"), pushWithORAS},
		{"charts/demo", "1.1.0", fixture.Chart("1.1.0"), pushWithSDK},
		{"odd", "sizes", fixture.Boundaries(), pushWithSDK},
		{"odd", "unsized", fixture.Unsized(), pushWithGGCRRaw},
		{"odd", "both", fixture.ConfigIsLayer(), pushWithGGCRRaw},
		{"odd", "foreign", fixture.Foreign(), pushWithGGCRRaw},
	}
}

// TestTreeIsWhatWasPushed compares a mount with what independent clients
// pushed: every name, every size, every byte, under every path there is.
func TestTreeIsWhatWasPushed(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		holdings := collection()
		for _, h := range holdings {
			pushWith(t, h.with, s, h.repo, h.tag, h.m)
		}
		m := mountServer(t, s)
		checkRepositories(t, m, holdings)
		checkOrder(t, m, holdings)
		for _, h := range holdings {
			if h.tag != "" {
				checkArtifact(t, m.tagDir(h.repo, h.tag), h.m)
			}
			for _, manifest := range family(h.m) {
				checkArtifact(t, m.manifestDir(h.repo, manifest.Digest), manifest)
			}
			checkBlobsByName(t, m, h)
		}
		checkUnknownNames(t, m)
	})
}

// checkRepositories compares the listings of directories with what is in the
// registry.
func checkRepositories(t *testing.T, m *mount, holdings []holding) {
	t.Helper()
	below := map[string][]string{} // what each directory must list
	list := func(dir string, names ...string) {
		for _, name := range names {
			if !slices.Contains(below[dir], name) {
				below[dir] = append(below[dir], name)
			}
		}
	}
	for _, h := range holdings {
		for path := h.repo; path != "."; path = filepath.Dir(path) {
			list(filepath.Dir(path), filepath.Base(path))
		}
		list(h.repo, "_tags", "_manifests", "_blobs")
		list(h.repo + "/_blobs")
		if !m.server.acr {
			continue
		}
		if h.tag != "" {
			list(h.repo+"/_tags", h.tag)
		}
		for _, manifest := range family(h.m) {
			list(h.repo+"/_manifests", manifest.Digest.String())
		}
	}
	if !m.server.acr {
		// There, the clients that pushed keep referrers in tags of their own,
		// and only what a tag leads to can be listed.
		for _, h := range holdings {
			tags, manifests := reachable(t, m.server, h.repo)
			list(h.repo+"/_tags", tags...)
			list(h.repo+"/_manifests", manifests...)
		}
	}
	for dir, want := range below {
		got := names(t, m.path(dir))
		if diff := cmp.Diff(sorted(want), sorted(got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("names in %s (-want +got):\n%s", dir, diff)
		}
	}
}

// reachable is a repository's tags, and the digests of what is behind them and
// below their indexes, as go-containerregistry finds them.
func reachable(t *testing.T, s *server, repo string) (tags, digests []string) {
	t.Helper()
	repository, err := name.NewRepository(s.host()+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if tags, err = remote.List(repository); err != nil {
		t.Fatal(err)
	}
	var follow func(ref name.Reference)
	follow = func(ref name.Reference) {
		got, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(digests, got.Digest.String()) {
			return
		}
		digests = append(digests, got.Digest.String())
		if !got.MediaType.IsIndex() {
			return
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(got.Manifest))
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range index.Manifests {
			follow(repository.Digest(child.Digest.String()))
		}
	}
	for _, tag := range tags {
		follow(repository.Tag(tag))
	}
	return tags, digests
}

// checkOrder looks at the order in which directories are listed, which names
// sorted by a tool do not show.
func checkOrder(t *testing.T, m *mount, holdings []holding) {
	t.Helper()
	for _, h := range holdings {
		if listed := namesAsListed(t, m.repositoryDir(h.repo)); len(listed) == 0 || listed[0] != "_tags" {
			t.Errorf("%s lists %q, want _tags first", h.repo, listed)
		}
		if h.tag == "" {
			continue
		}
		listed := namesAsListed(t, m.tagDir(h.repo, h.tag))
		if listed[0] != "manifest.json" || slices.Contains(listed, "config.json") && listed[1] != "config.json" {
			t.Errorf("%s:%s lists %q, want manifest.json and config.json first", h.repo, h.tag, listed)
		}
		manifests := namesAsListed(t, m.path(h.repo, "_manifests"))
		for _, child := range h.m.Children {
			if slices.Index(manifests, child.Digest.String()) < slices.Index(manifests, h.m.Digest.String()) {
				t.Errorf("%s lists the child %s before the index %s", h.repo, child.Digest, h.m.Digest)
			}
		}
	}
}

func namesAsListed(t *testing.T, dir string) []string {
	t.Helper()
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	listed, err := file.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return listed
}

// checkBlobsByName reads every blob of an artifact where it is never listed.
func checkBlobsByName(t *testing.T, m *mount, h holding) {
	t.Helper()
	for _, manifest := range family(h.m) {
		for _, blob := range manifest.Blobs {
			for _, name := range bothForms(blob.Digest) {
				checkEntry(t, m.path(h.repo, "_blobs", name), blobEntry(blob))
			}
		}
		for _, name := range bothForms(manifest.Digest) {
			if _, err := os.Stat(m.path(h.repo, "_manifests", name, "manifest.json")); err != nil {
				t.Error(err)
			}
		}
	}
}

// bothForms are the ways to write a digest in a path: tools that split at
// colons get one without.
func bothForms(d digest.Digest) []string {
	return []string{d.String(), d.Algorithm().String() + "-" + d.Encoded()}
}

func checkUnknownNames(t *testing.T, m *mount) {
	t.Helper()
	nowhere := digest.FromString("nowhere")
	for _, path := range []string{
		"nothing", "library/nothing", "library/_nothing", "_tags", "_manifests", "library/_tags/nothing",
		"library/_tags/readme/nothing", "library/_manifests/nothing", "library/_manifests/sha256:12",
		"library/_manifests/" + nowhere.String(), "library/_manifests/sha256-" + nowhere.Encoded(),
		"library/_blobs/" + nowhere.String(), "library/_blobs/nothing", "library/_blobs/sha256:..",
		"Library", "charts/_tags", "library/_tags/" + strings.Repeat("t", 200),
	} {
		if _, err := os.Lstat(m.path(path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want %v", path, err, syscall.ENOENT)
		}
	}
}

// TestSchema1ManifestIsShown mounts a manifest of the era before configs.
func TestSchema1ManifestIsShown(t *testing.T) {
	s := newLocalACR(t) // distribution takes none any more
	m := fixture.Schema1("old", "v1", fixture.Text("a layer"), fixture.Text("another"))
	push(t, s, "old", "v1", m)
	mounted := mountServer(t, s)
	for _, dir := range []string{mounted.tagDir("old", "v1"), mounted.manifestDir("old", m.Digest)} {
		got, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil || string(got) != string(m.Raw) {
			t.Errorf("%s: got %q, %v", dir, got, err)
		}
		shell(t, `ls -laR "$1" && find "$1" -type f -exec cat {} +`, dir)
	}
}

// TestConflictingTitlesLoseNothing pushes titles that cannot all be paths.
// Whichever of them are used, every blob is there under some name.
func TestConflictingTitlesLoseNothing(t *testing.T) {
	s := newLocalACR(t)
	conflicting := fixture.Files(
		"a", "file a", "a/b", "file a/b", "a/b/c", "file a/b/c", "x/y", "file x/y", "x", "file x", "x/y", "another x/y",
	)
	push(t, s, "conflict", "v1", conflicting)
	dir := mountServer(t, s).tagDir("conflict", "v1")
	contents := map[string]bool{}
	for _, name := range filesBelow(t, dir) {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		contents[string(content)] = true
	}
	for _, blob := range conflicting.Blobs {
		if !contents[string(blob.ReadAll())] {
			t.Errorf("no file has %q", blob.ReadAll())
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "x/y")); err != nil || string(got) != "file x/y" {
		t.Errorf("x/y: got %q, %v; want the first that has the title", got, err)
	}
}
