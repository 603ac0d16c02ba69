package localacr_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// A push is as long as its largest layer takes, however long that is: until
// then what it uploaded before stays, though nothing needs it yet.
func TestCollectSparesPushesThatTakeLong(t *testing.T) {
	const keep = 200 * time.Millisecond
	r := start(t, localacr.Config{CollectAfter: keep})
	large, feed := io.Pipe()
	req, err := http.NewRequest("PATCH", r.url+r.begin("a"), large)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token("repository:a:*"))
	answer := make(chan reply, 1)
	go func() {
		res, err := r.http.Do(req)
		if err != nil {
			answer <- reply{TB: t, err: err}
			return
		}
		res.Body.Close()
		answer <- reply{TB: t, status: res.StatusCode, header: res.Header}
	}()
	feed.Write([]byte("the second "))
	first := r.pushBlob("a", []byte("the first layer"))

	// What nobody pushes any more goes, several times over.
	for i := range 5 {
		left := r.pushBlob("b", fmt.Appendf(nil, "left behind %d", i))
		r.collectUntilGone("b", left)
	}
	r.auth("HEAD", "a", "/v2/a/blobs/"+first, "").want(200)
	feed.Write([]byte("layer"))
	feed.Close()
	second := localacr.DigestOf("", []byte("the second layer"))
	at := (<-answer).want(202).header.Get("Location")
	r.auth("PUT", "a", at+"&digest="+second, "").want(201)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":15},"layers":[{"mediaType":"x/y","digest":%q,"size":16}]}`, typeManifest, first, second)
	r.pushManifest("a", "long", typeManifest, manifest)

	// A push that was left is not waited for.
	left := r.pushBlob("a", []byte("left behind"))
	r.begin("a")
	r.collectUntilGone("a", left)
	r.fetch("a", first).says(200, "the first layer")
	r.checked()
}

// collectUntilGone collects until the blob is gone. It asks storage, since
// asking the registry would keep the blob.
func (r *rig) collectUntilGone(repo, digest string) {
	r.Helper()
	at := r.auth("GET", repo, "/v2/"+repo+"/blobs/"+digest, "").want(307).header.Get("Location")
	for end := time.Now().Add(10 * time.Second); r.raw("GET", at, "").status != 404; {
		if _, err := r.Collect(r.Context()); err != nil || time.Now().After(end) {
			r.Fatalf("blob %s stays: %v", digest, err)
		}
	}
}

// CollectEvery collects by itself, again and again, beside pushes that it does
// not disturb, and no more once the server is closed.
func TestCollectEvery(t *testing.T) {
	const keep = 200 * time.Millisecond
	var log syncBuffer
	r := start(t, localacr.Config{CollectAfter: keep, CollectEvery: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 3 {
		at := r.auth("GET", "b", "/v2/b/blobs/"+r.pushBlob("b", fmt.Appendf(nil, "left behind %d", i)), "").want(307).header.Get("Location")
		// Until it is gone by itself. An image that is pushed meanwhile, and
		// quickly, has all it needs.
		for end, n := time.Now().Add(10*time.Second), 0; r.raw("GET", at, "").status != 404; n++ {
			begin := time.Now()
			if tag := fmt.Sprintf("t%d-%d", i, n); !r.tryPush("a", tag, tag) && time.Since(begin) < keep {
				t.Fatal("a quick push failed")
			}
			if time.Now().After(end) {
				t.Fatalf("nothing is collected; log:\n%s", log.String())
			}
		}
	}
	r.checked()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "failed") || !strings.Contains(text, "msg=collected") {
		t.Errorf("log:\n%s", text)
	}
}

// An upload that was left lying goes after a week, without a restart.
func TestUploadsThatWereLeftAreDropped(t *testing.T) {
	root := freshRoot(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := localacr.Open(localacr.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		const week = 7 * 24 * time.Hour
		left := filepath.Join(root, "uploads", "00000000-0000-4000-8000-000000000000")
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(left, time.Time{}, time.Now()); err != nil { // the bubble's now
			t.Fatal(err)
		}
		for _, row := range []struct {
			after time.Duration
			there bool
		}{{week - time.Hour, true}, {3 * time.Hour, false}} {
			time.Sleep(row.after)
			synctest.Wait()
			if _, err := os.Stat(left); (err == nil) != row.there {
				t.Errorf("%v later: %v, want it there: %v", row.after, err, row.there)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// An import or a seed that finds a blob in place counts on it as a client does.
func TestCollectSparesWhatAnImportNeeds(t *testing.T) {
	const keep = time.Hour
	r := start(t, localacr.Config{CollectAfter: keep})
	dir := t.TempDir()
	writeLayout(t, dir)
	config := r.pushBlob("a", []byte(`{"architecture":"arm","os":"linux"}`))
	if err := r.Backdate("a", config, 3*keep); err != nil {
		t.Fatal(err)
	}
	// It finds the config, and is still without its manifest when it is collected.
	if err := os.Remove(filepath.Join(dir, "blobs", "sha256", localacr.DigestOf("", []byte("layer"))[7:])); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Import(t.Context(), dir, "a"); err == nil {
		t.Fatal("a layout without its layer was imported")
	}
	if got, err := r.Collect(t.Context()); err != nil || got.Links != 0 {
		t.Errorf("collected %+v, %v", got, err)
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
