package localacr_test

import (
	"os"
	"path/filepath"
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
