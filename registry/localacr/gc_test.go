package localacr_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
//
// It runs in a bubble, where only sleeping takes time: every push is quick, and
// blobs are as old as the steps between pushes make them, whatever the machine.
// All wake at one moment. A layer is idle seven steps after its last push:
// uploads of the last three still count, and what came less than four before
// them stays. So of the layers that come again after six, seven and eight steps
// the first are never collected, the last always are, and for the others pushes
// and collections race. One client comes after six, and would be too late with
// its manifest if it had not been told that its layer is there.
func TestCollectBesidePushes(t *testing.T) {
	const keep, step, steps = time.Minute, 15 * time.Second, 40
	bubble(t, localacr.Config{CollectAfter: keep}, func(r *rig, _ func() net.Conn) {
		kept := r.pushImage("a", "kept", "needed all the time")
		push := func(name string, pause time.Duration) {
			if !r.pushMissing("a", name, name, pause) {
				r.Errorf("the push of %s failed", name)
			}
			got := r.auth("HEAD", "a", "/v2/a/manifests/"+name, "", "Accept: "+typeManifest)
			r.auth("DELETE", "a", "/v2/a/manifests/"+got.header.Get("Docker-Content-Digest"), "")
		}
		var wg sync.WaitGroup
		for worker := range 16 {
			period := []int{6, 7, 7, 8}[worker%4]
			wg.Go(func() {
				for i := range steps {
					// Two workers share each of these, and delete each other's images.
					push(fmt.Sprintf("%d-%d-%d", worker/4, period, i%period), 0)
					time.Sleep(step)
				}
			})
		}
		wg.Go(func() {
			for range steps / 6 {
				push("slow", 3*step)
				time.Sleep(3 * step)
			}
		})
		var collected localacr.Collected
		for range steps {
			for range 3 { // which is about as long as the pushes of a step take
				got, err := r.Collect(r.Context())
				if err != nil {
					r.Error(err)
				}
				collected.Links += got.Links
				collected.Blobs += got.Blobs
			}
			time.Sleep(step)
		}
		wg.Wait()
		if collected.Links == 0 || collected.Blobs == 0 {
			r.Errorf("collected %+v: this tested nothing", collected)
		}
		r.do("GET", "/v2/a/manifests/"+kept, "", "Accept: "+typeManifest).want(200)
		r.auth("HEAD", "a", "/v2/a/blobs/"+localacr.DigestOf("", []byte("needed all the time")), "").want(200)
		r.checked()
	})
}

// pushMissing is tryPush by a client that uploads only what it is not told is
// there, and pauses before the manifest.
func (r *rig) pushMissing(repo, tag, layer string, pause time.Duration) bool {
	for _, blob := range []string{"{}", layer} {
		d := localacr.DigestOf("", []byte(blob))
		if r.auth("HEAD", repo, "/v2/"+repo+"/blobs/"+d, "").status == 200 {
			continue
		}
		if r.auth("POST", repo, "/v2/"+repo+"/blobs/uploads/?digest="+d, blob).status != 201 {
			return false
		}
	}
	time.Sleep(pause)
	return r.tryManifest(repo, tag, "{}", layer)
}
