package localacr_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// What one process told a client is not taken back by the next one, whether
// the first was closed or killed; and once that is old enough it is collected.
func TestCollectSparesWhatWasPromisedBeforeARestart(t *testing.T) {
	root := freshRoot(t)
	open := func(keep time.Duration) *rig {
		s, err := localacr.Open(localacr.Config{Root: root, CollectAfter: keep})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, s)
		r.dir = root
		return r
	}
	const brief = 20 * time.Millisecond
	r := open(brief)
	d := r.pushBlob("a", []byte("about to be used"))
	for begin := time.Now(); time.Since(begin) <= brief; { // until the upload alone does not protect it
		r.auth("HEAD", "a", "/v2/a/blobs/"+d, "").want(200)
	}
	killed := filepath.Join(root, "registry.db")
	snapshot, err := os.ReadFile(killed)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"closed", "killed"} {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if way == "killed" { // the database as it was before anything was closed
			if err := os.WriteFile(killed, snapshot, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r = open(time.Hour)
		// Only the promise is younger than an hour now.
		if err := r.Backdate("a", d, 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Collect(t.Context()); err != nil || got.Links != 0 {
			t.Errorf("%s: collected %+v, %v", way, got, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(brief)
	for got, end := (localacr.Collected{}), time.Now().Add(10*time.Second); got.Blobs == 0; {
		var err error
		if got, err = r.Collect(t.Context()); err != nil || time.Now().After(end) {
			t.Fatalf("an old promise still protects: %+v, %v", got, err)
		}
	}
}

// A push goes on after the server was killed and started again: what it
// uploaded before stays, however long ago that was.
func TestCollectSparesPushesAcrossARestart(t *testing.T) {
	const keep = time.Hour
	for name, push := range map[string]func(r *rig){
		"before the first chunk": func(r *rig) { r.begin("a") },
		"between two chunks":     func(r *rig) { r.auth("PATCH", "a", r.begin("a"), "the second").want(202) },
		"before its manifest":    func(r *rig) { r.pushBlob("a", []byte("the second layer")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, localacr.Config{CollectAfter: keep})
			first := r.pushBlob("a", []byte("the first layer"))
			// As if both had been long ago.
			if err := r.Backdate("a", first, 3*keep); err != nil {
				t.Fatal(err)
			}
			if err := r.ForgetPromises(); err != nil {
				t.Fatal(err)
			}
			push(r)
			again := start(t, localacr.Config{CollectAfter: keep, Root: r.killed()})
			if got, err := again.Collect(t.Context()); err != nil || got.Links != 0 {
				t.Errorf("collected %+v, %v", got, err)
			}
		})
	}
}

// killed is what would be on disk if the server were killed now.
func (r *rig) killed() string {
	r.Helper()
	root := r.TempDir()
	if err := os.CopyFS(root, os.DirFS(r.root())); err != nil {
		r.Fatal(err)
	}
	return root
}
