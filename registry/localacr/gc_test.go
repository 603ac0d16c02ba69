package localacr_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// files counts the blob files on disk.
func (r *rig) files() int {
	r.Helper()
	found, err := filepath.Glob(filepath.Join(r.root(), "blobs", "*", "*", "*"))
	if err != nil {
		r.Fatal(err)
	}
	return len(found)
}

func TestCollect(t *testing.T) {
	root := freshRoot(t)
	s, err := localacr.Open(localacr.Config{Root: root, CollectAfter: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	r.dir = root
	kept := r.pushImage("a", "kept", "kept layer")
	gone := r.pushImage("a", "gone", "gone layer")
	r.pushBlob("a", []byte("never used"))
	r.pushBlob("b", []byte("kept layer")) // held by a, and unused in b
	r.do("DELETE", "/v2/a/manifests/"+gone, "").want(202)
	if n := r.files(); n != 4 {
		t.Fatalf("%d files before", n)
	}
	got, err := r.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (localacr.Collected{Links: 3, Blobs: 2, Bytes: int64(len("gone layer") + len("never used"))}); got != want {
		t.Errorf("collected %+v, want %+v", got, want)
	}
	if n := r.files(); n != 2 {
		t.Errorf("%d files after", n)
	}
	r.do("GET", "/v2/a/manifests/"+kept, "", "Accept: "+typeManifest).want(200)
	r.fetch("a", localacr.DigestOf("", []byte("kept layer"))).says(200, "kept layer")
	for _, blob := range []string{"gone layer", "never used"} {
		r.auth("HEAD", "a", "/v2/a/blobs/"+localacr.DigestOf("", []byte(blob)), "").want(404)
	}
	r.checked()
	if again, err := r.Collect(t.Context()); err != nil || again != (localacr.Collected{}) {
		t.Errorf("collected again: %+v, %v", again, err)
	}
	// What was collected can be pushed again.
	r.pushImage("a", "gone", "gone layer")
	r.fetch("a", localacr.DigestOf("", []byte("gone layer"))).says(200, "gone layer")
}

// Within CollectAfter, what was uploaded or asked about stays.
func TestCollectSparesPushesInProgress(t *testing.T) {
	r := start(t, localacr.Config{})
	d := r.pushBlob("a", []byte("about to be used"))
	if got, err := r.Collect(t.Context()); err != nil || got.Blobs+got.Links != 0 {
		t.Errorf("collected %+v, %v", got, err)
	}
	r.fetch("a", d).says(200, "about to be used")
}

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

// Collections beside pushes: whoever was told that a blob is there can use it.
func TestCollectBesidePushes(t *testing.T) {
	const keep = 200 * time.Millisecond
	r := start(t, localacr.Config{CollectAfter: keep})
	r.token("repository:a:*")
	var stop atomic.Bool
	var collected atomic.Int64
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			got, err := r.Collect(t.Context())
			if err != nil {
				done <- err
				return
			}
			collected.Add(int64(got.Blobs))
		}
		done <- nil
	}()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			// The workers share layers and delete each other's images, so that
			// blobs become idle and needed again all the time.
			for i := 0; i < 400 && collected.Load() < 3; i++ {
				begin := time.Now()
				pushed := r.tryPush("a", "t", strings.Repeat("x", (i+worker)%31+1))
				if !pushed && time.Since(begin) < keep {
					t.Error("a push failed though it was quick")
				}
				got := r.auth("HEAD", "a", "/v2/a/manifests/t", "", "Accept: "+typeManifest)
				r.auth("DELETE", "a", "/v2/a/manifests/"+got.header.Get("Docker-Content-Digest"), "")
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if collected.Load() == 0 {
		t.Error("nothing was ever collected: this tested nothing")
	}
	t.Logf("%d blobs collected beside pushes", collected.Load())
	r.checked()
}
