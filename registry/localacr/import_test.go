package localacr_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// A server that is started with --import again and again does not take back
// what was pushed meanwhile: a tag that is there stays where it is.
func TestImportLeavesTagsThatWereMoved(t *testing.T) {
	dir := t.TempDir()
	first := writeLayout(t, dir)
	r := start(t, localacr.Config{})
	for _, change := range []string{
		"", // none: the first import
		`{"writeEnabled":true}`, `{"deleteEnabled":false}`, `{"writeEnabled":false}`,
	} {
		want := first
		if change != "" {
			r.do("PATCH", "/acr/v1/a/_tags/1.0", `{"writeEnabled":true}`).want(200)
			want = r.pushImage("a", "1.0", "another layer")
			r.do("PATCH", "/acr/v1/a/_tags/1.0", change).want(200)
		}
		if _, err := r.Import(t.Context(), dir, "a"); err != nil {
			t.Errorf("%s: %v", change, err)
		}
		if got := r.digest("a", "1.0"); got != want {
			t.Errorf("%s: the tag points to %s, want %s", change, got, want)
		}
	}
	r.checked()
}

// A lock keeps an import out, and does not fail it: the server that it is for
// starts.
func TestImportLeavesWhatIsLocked(t *testing.T) {
	dir := t.TempDir()
	first := writeLayout(t, dir)
	r := start(t, localacr.Config{})
	pushed := r.pushImage("a", "2.0", "another layer")
	r.do("PATCH", "/acr/v1/a", `{"writeEnabled":false}`).want(200)
	if _, err := r.Import(t.Context(), dir, "a"); err != nil {
		t.Error(err)
	}
	r.do("GET", "/v2/a/tags/list", "").says(200, `{"name":"a","tags":["2.0"]}`+"\n")
	r.do("GET", "/acr/v1/a/_manifests/"+first, "").want(404)

	// A lock on one thing is no lock on what is beside it.
	r.do("PATCH", "/acr/v1/a", `{"writeEnabled":true}`).want(200)
	r.do("PATCH", "/acr/v1/a/_manifests/"+pushed, `{"writeEnabled":false}`).want(200)
	r.do("PATCH", "/acr/v1/a/_tags/2.0", `{"writeEnabled":false}`).want(200)
	if _, err := r.Import(t.Context(), dir, "a"); err != nil {
		t.Error(err)
	}
	if got := r.digest("a", "1.0"); got != first {
		t.Errorf("the tag points to %s, want %s", got, first)
	}
	r.checked()
}

// Tools that save an image for one platform may leave an index that names the
// others. Who imports that is told which is missing and what to do.
func TestImportSaysWhichPlatformIsMissing(t *testing.T) {
	dir := t.TempDir()
	d := writeLayout(t, dir)
	r := start(t, localacr.Config{})
	var idx struct{ Manifests []struct{ Digest string } }
	if _, err := r.Import(t.Context(), dir, "whole"); err != nil {
		t.Fatal(err)
	}
	r.json("whole", "1.0", &idx)
	image := idx.Manifests[0].Digest
	remove := func(digest string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, "blobs", "sha256", digest[7:])); err != nil {
			t.Fatal(err)
		}
	}
	remove(image)
	_, err := r.Import(t.Context(), dir, "a")
	if want := "import " + dir + ": manifest " + image + " (linux/arm) of index " + d + " is not in the layout; save it with all platforms"; err == nil || err.Error() != want {
		t.Errorf("without the image: %v, want %s", err, want)
	}
	// Where no index tells of it, another platform is not what is missing.
	remove(d)
	_, err = r.Import(t.Context(), dir, "a")
	if want := "import " + dir + ": manifest " + d + " is not in the layout"; err == nil || err.Error() != want {
		t.Errorf("without the index: %v, want %s", err, want)
	}
}

// TestImportOfBuildKitsCache, as buildx writes it into a directory: an index of blobs.
func TestImportOfBuildKitsCache(t *testing.T) {
	r := start(t, localacr.Config{})
	layout := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(layout, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(content string) string {
		d := localacr.DigestOf("", []byte(content))
		if err := os.WriteFile(filepath.Join(layout, "blobs", strings.Replace(d, ":", "/", 1)), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	blob := func(mediaType, content string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, put(content), len(content))
	}
	const layer = "\x1f\x8b a layer"
	cache := index(typeIndex, blob("application/vnd.oci.image.layer.v1.tar+gzip", layer), blob("application/vnd.buildkit.cacheconfig.v0", "{}"))
	top := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, typeIndex, put(cache), len(cache))
	for name, content := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": top} {
		if err := os.WriteFile(filepath.Join(layout, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Import(t.Context(), layout, "a"); err != nil || got.Manifests != 1 || got.Blobs != 2 {
		t.Fatalf("imported %+v, %v", got, err)
	}
	r.do("GET", "/v2/a/manifests/latest", "", "Accept: "+typeIndex).says(200, cache)
	r.fetch("a", localacr.DigestOf("", []byte(layer))).says(200, layer)
	r.checked()

	if err := os.Remove(filepath.Join(layout, "blobs", strings.Replace(localacr.DigestOf("", []byte(layer)), ":", "/", 1))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Import(t.Context(), layout, "b"); err == nil || !strings.Contains(err.Error(), "not in the layout") {
		t.Errorf("without a layer: %v", err)
	}
}
