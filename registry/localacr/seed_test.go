package localacr_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

func TestSeed(t *testing.T) {
	r := start(t, localacr.Config{})
	if err := r.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.checked()
	if got := slices.Concat(r.walk("/acr/v1/_catalog")...); !slices.Equal(got, []string{"charts/hello", "library/hello-world", "library/hello-world/docs", "models/tiny"}) {
		t.Errorf("repositories %v", got)
	}
	if got := slices.Concat(r.walk("/acr/v1/library/hello-world/_tags")...); !slices.Equal(got, []string{"latest", "v1", "v2", "zstd"}) {
		t.Errorf("tags %v", got)
	}
	before := r.state()
	// Whoever unlocks a sample is not contradicted by the next start.
	r.do("DELETE", "/acr/v1/library/hello-world/_tags/v1", "").want(405)
	r.do("PATCH", "/acr/v1/library/hello-world/_tags/v1", `{"deleteEnabled":true}`).want(200)
	if err := r.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := strings.ReplaceAll(r.state(), "\x00", ""); after != strings.Replace(before, `"deleteEnabled":false`, `"deleteEnabled":true`, 1) {
		t.Errorf("seeding again changed something:\n%s\n%s", before, after)
	}
	// The layers are what they say.
	var index struct{ Manifests []struct{ Digest string } }
	r.json("library/hello-world", "latest", &index)
	var image struct {
		Config struct{ Digest string }
		Layers []struct{ Digest, MediaType string }
	}
	r.json("library/hello-world", index.Manifests[0].Digest, &image)
	var config struct {
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal([]byte(r.fetch("library/hello-world", image.Config.Digest).want(200).body), &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, l := range image.Layers {
		z, err := gzip.NewReader(strings.NewReader(r.fetch("library/hello-world", l.Digest).want(200).body))
		if err != nil {
			t.Fatal(err)
		}
		archive, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(archive); config.Rootfs.DiffIDs[i] != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("layer %d is not what the config says", i)
		}
		for tr := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
	}
	for _, want := range []string{"etc/os-release", "etc/hello.conf", "bin/hello", "usr/lib/hello/platform"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %v", want, names)
		}
	}
	if refs := slices.Concat(r.walk("/v2/library/hello-world/referrers/" + r.digest("library/hello-world", "v2"))...); len(refs) != 2 {
		t.Errorf("referrers %v", refs)
	}
}

// A repository that somebody locked is left alone, whatever it lacks.
func TestSeedLeavesWhatIsLocked(t *testing.T) {
	r := start(t, localacr.Config{})
	for range 2 {
		if err := r.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tags := slices.Concat(r.walk("/acr/v1/models/tiny/_tags")...); len(tags) == 2 {
			r.do("DELETE", "/acr/v1/models/tiny/_tags/latest", "").want(202)
			r.do("PATCH", "/acr/v1/models/tiny", `{"writeEnabled":false}`).want(200)
		}
	}
	r.do("GET", "/acr/v1/models/tiny/_tags/latest", "").want(404)
	r.checked()
}

// Two machines that seed get the same digests.
func TestSeedIsTheSameEverywhere(t *testing.T) {
	var all []string
	for range 2 {
		r := start(t, localacr.Config{})
		if err := r.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Join(slices.Concat(r.walk("/acr/v1/library/hello-world/_manifests")...), " ")+r.digest("models/tiny", "1.0")+r.digest("charts/hello", "0.1.0"))
	}
	if all[0] != all[1] {
		t.Errorf("%s\n%s", all[0], all[1])
	}
}

// state is everything that the lists of the samples show.
func (r *rig) state() string {
	r.Helper()
	var b strings.Builder
	for _, path := range []string{"/acr/v1/_catalog", "/acr/v1/library/hello-world", "/acr/v1/library/hello-world/_tags", "/acr/v1/library/hello-world/_manifests", "/acr/v1/models/tiny/_manifests"} {
		b.WriteString(r.do("GET", path, "").want(200).body)
	}
	return b.String()
}

func (r *rig) json(repo, ref string, into any) {
	r.Helper()
	if err := json.Unmarshal([]byte(r.do("GET", "/v2/"+repo+"/manifests/"+ref, "", "Accept: "+acceptAll).want(200).body), into); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) digest(repo, tag string) string {
	r.Helper()
	return r.do("HEAD", "/v2/"+repo+"/manifests/"+tag, "", "Accept: "+acceptAll).want(200).header.Get("Docker-Content-Digest")
}

// The frames that we write by hand are read by the tool that knows.
func TestZstdFrames(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("zstd is not installed")
	}
	for _, n := range []int{0, 1, 128 << 10, 128<<10 + 1, 300_000} {
		data := bytes.Repeat([]byte("abcdefg"), n/7+1)[:n]
		cmd := exec.Command(zstd, "-dc")
		cmd.Stdin = bytes.NewReader(localacr.WrapZstd(data))
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d back, %v", n, len(got), err)
		}
	}
}

// writeLayout writes an OCI image layout and returns the digest of its index.
func writeLayout(t *testing.T, dir string) (digest string) {
	t.Helper()
	write := func(data string) string {
		d := localacr.DigestOf("", []byte(data))
		path := filepath.Join(dir, "blobs", "sha256", d[7:])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	image := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":32},"layers":[{"mediaType":"x/y","digest":%q,"size":5},{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":%q,"size":7}]}`,
		typeManifest, write(`{"architecture":"arm","os":"linux"}`), write("layer"), zeros)
	idx := index(typeIndex, child(typeManifest, write(image), len(image), "arm"))
	digest = write(idx)
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"registry.example/app:1.0"}}`, typeIndex, digest, len(idx))
	for name, data := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": index(typeIndex, entry)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return digest
}

func TestImport(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "My-App")
	d := writeLayout(t, dir)
	archive := filepath.Join(base, "packed.tar")
	compressed := filepath.Join(base, "small.tar.gz")
	for _, args := range [][]string{{"-cf", archive}, {"-czf", compressed}} {
		if out, err := exec.Command("tar", append(args, "-C", dir, ".")...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	r := start(t, localacr.Config{})
	for path, repo := range map[string]string{dir: "my-app", archive: "packed", compressed: "small"} {
		got, err := r.Import(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		if got.Repository != repo || !slices.Equal(got.Tags, []string{"1.0"}) || got.Manifests != 2 || got.Blobs != 2 {
			t.Errorf("%+v", got)
		}
		if have := r.digest(repo, "1.0"); have != d {
			t.Errorf("%s: %s, want %s", repo, have, d)
		}
		r.fetch(repo, localacr.DigestOf("", []byte("layer"))).says(200, "layer")
	}
	if _, err := r.Import(t.Context(), dir, "team/app"); err != nil {
		t.Error(err)
	}
	// What is there already stays as it is, locks and times included.
	r.do("PATCH", "/acr/v1/team/app/_tags/1.0", `{"writeEnabled":false}`).want(200)
	r.do("PATCH", "/acr/v1/team/app", `{"writeEnabled":false}`).want(200)
	before := r.do("GET", "/acr/v1/team/app/_manifests", "").want(200).body
	if got, err := r.Import(t.Context(), dir, "team/app"); err != nil || got.Manifests != 2 {
		t.Errorf("imported again: %+v, %v", got, err)
	}
	r.do("GET", "/acr/v1/team/app/_manifests", "").says(200, before)
	if _, err := r.Import(t.Context(), dir, "No Such Name"); err == nil || !strings.Contains(err.Error(), "No Such Name") {
		t.Error(err)
	}
	if _, err := r.Import(t.Context(), filepath.Join(base, "none"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := r.Import(t.Context(), base, "x"); err == nil || !strings.Contains(err.Error(), "not an OCI image layout") {
		t.Error(err)
	}
	// A layout whose content is not what its names say brings nothing in.
	layer := localacr.DigestOf("", []byte("layer"))
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", layer[7:]), []byte("lAyer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Import(t.Context(), dir, "damaged"); err == nil || !strings.Contains(err.Error(), layer) {
		t.Error(err)
	}
	r.do("GET", "/acr/v1/damaged", "").want(404)
	if left, err := os.ReadDir(filepath.Join(r.root(), "uploads")); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files left, %v", len(left), err)
	}
	r.checked()
}

// A manifest under several names is one manifest.
func TestImportCountsManifestsOnce(t *testing.T) {
	dir := t.TempDir()
	d := writeLayout(t, dir)
	var entries []string
	for _, tag := range []string{"1", "1.0", "latest"} {
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"annotations":{"org.opencontainers.image.ref.name":%q}}`, typeIndex, d, tag))
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index(typeIndex, entries...)), 0o644); err != nil {
		t.Fatal(err)
	}
	r := start(t, localacr.Config{})
	got, err := r.Import(t.Context(), dir, "a")
	if err != nil || !slices.Equal(got.Tags, []string{"1", "1.0", "latest"}) || got.Manifests != 2 || got.Blobs != 2 {
		t.Errorf("%+v, %v, want three tags, the index and its image, and two blobs", got, err)
	}
}

// A layout's file name becomes a repository's name, whatever is in it.
func TestImportNamesTheRepositoryAfterTheFile(t *testing.T) {
	base := t.TempDir()
	r := start(t, localacr.Config{})
	for name, want := range map[string]string{
		"My Image (1).oci": "my-image-1", "a__b.c--d": "a__b.c--d", "_x..y.": "x-y", "Übung.d": "bung.d",
	} {
		dir := filepath.Join(base, name)
		writeLayout(t, dir)
		if got, err := r.Import(t.Context(), dir, ""); err != nil || got.Repository != want {
			t.Errorf("%s: %+v, %v, want repository %s", name, got, err, want)
		}
	}
	t.Chdir(filepath.Join(base, "a__b.c--d"))
	if got, err := r.Import(t.Context(), ".", ""); err != nil || got.Repository != "a__b.c--d" {
		t.Errorf("the folder that we are in: %+v, %v", got, err)
	}
	if _, err := r.Import(t.Context(), "/", ""); err == nil || !strings.Contains(err.Error(), "is not a repository name") {
		t.Errorf("a path without a name: %v", err)
	}
}
