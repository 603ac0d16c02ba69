package localacr_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// scale is a size that make test-scale raises to the one that is promised.
func scale(t *testing.T, usual, promised int64) int64 {
	t.Helper()
	if on, _ := strconv.ParseBool(os.Getenv("LOCALACR_SCALE")); on {
		return promised
	}
	return usual
}

// noise is a stream of n bytes that do not repeat.
type noise struct {
	left int64
	next byte
}

func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), n.left)]
	for i := 0; i < len(p); i += 512 { // enough for order to matter
		p[i] = n.next
		n.next++
	}
	n.left -= int64(len(p))
	return len(p), nil
}

// watched is a stream that looks at the memory in use as it goes.
type watched struct {
	io.Reader
	gone, looked int64
	peak         uint64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.gone += int64(n); w.gone-w.looked > 16<<20 {
		w.looked = w.gone
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.peak = max(w.peak, m.HeapInuse)
	}
	return n, err
}

// A blob of any size takes the same memory, in and out. The client, in the same
// process, holds none of it either.
func TestScaleOfABlob(t *testing.T) {
	size := scale(t, 128<<20, 20<<30)
	const most = 64 << 20
	r := start(t, localacr.Config{})
	send := func(method, target string, body io.Reader) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, target, body)
		if err != nil {
			t.Fatal(err)
		}
		if body != nil {
			req.ContentLength = size
			req.Header.Set("Authorization", "Bearer "+r.token("repository:a:*"))
		}
		res, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	at := r.begin("a")
	sum := sha256.New()
	up := &watched{Reader: io.TeeReader(&noise{left: size}, sum)}
	begin := time.Now()
	res := send("PATCH", r.url+at, up)
	res.Body.Close()
	if res.StatusCode != 202 || res.Header.Get("Range") != fmt.Sprintf("0-%d", size-1) {
		t.Fatalf("%s, %s", res.Status, res.Header.Get("Range"))
	}
	digest := fmt.Sprintf("sha256:%x", sum.Sum(nil))
	r.auth("PUT", "a", res.Header.Get("Location")+"&digest="+digest, "").want(201)
	t.Logf("up: %d MiB in %v, at most %d MiB of memory", size>>20, time.Since(begin), up.peak>>20)

	begin = time.Now()
	res = send("GET", r.auth("GET", "a", "/v2/a/blobs/"+digest, "").want(307).header.Get("Location"), nil)
	defer res.Body.Close()
	again := sha256.New()
	down := &watched{Reader: res.Body}
	if n, err := io.Copy(again, down); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got := fmt.Sprintf("sha256:%x", again.Sum(nil)); got != digest {
		t.Errorf("got %s, want %s", got, digest)
	}
	t.Logf("down: %d MiB in %v, at most %d MiB of memory", size>>20, time.Since(begin), down.peak>>20)
	if peak := max(up.peak, down.peak); peak == 0 || peak > most {
		t.Errorf("%d MiB of memory for a blob, want at most %d", peak>>20, most>>20)
	}
}

// Lists of any length are walked in pages, each item once.
func TestScaleOfLists(t *testing.T) {
	n := int(scale(t, 1_000, 100_000))
	r := start(t, localacr.Config{})
	r.crowd("big", n)
	for _, list := range []string{"/acr/v1/big/_tags", "/acr/v1/big/_tags?orderby=timedesc", "/acr/v1/big/_manifests", "/acr/v1/big/_manifests?orderby=timeasc", "/v2/big/tags/list"} {
		begin := time.Now()
		pages := r.walk(list)
		seen := map[string]bool{}
		for _, page := range pages {
			for _, item := range page {
				seen[item] = true
			}
		}
		if wanted := (n + 99) / 100; len(seen) != n || len(pages) != wanted {
			t.Errorf("%s: %d items in %d pages, want %d in %d", list, len(seen), len(pages), n, wanted)
		}
		t.Logf("%s: %v for a page of 100 out of %d", list, time.Since(begin)/time.Duration(len(pages)), n)
	}
	r.checked()
}

// What is remembered about clients is bounded; past the bound nothing is
// collected until what was forgotten does not matter any more.
func TestScaleOfWhatIsRemembered(t *testing.T) {
	for name, fill := range map[string]func(s *localacr.Server) error{
		"blobs": func(s *localacr.Server) error {
			for i := range localacr.TouchedLimit + 10 {
				if err := s.Touch("a", strconv.Itoa(i)); err != nil {
					return err
				}
			}
			return nil
		},
		"uploads": func(s *localacr.Server) error {
			for i := range localacr.PushesLimit + 10 {
				s.Step("a", strconv.Itoa(i))
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			const keep = time.Hour
			r := start(t, localacr.Config{CollectAfter: keep})
			d := r.pushBlob("b", []byte("left behind"))
			if err := r.Backdate("b", d, 3*keep); err != nil {
				t.Fatal(err)
			}
			if err := fill(r.Server); err != nil {
				t.Fatal(err)
			}
			if blobs, uploads := r.Remembered(); blobs > localacr.TouchedLimit || uploads > localacr.PushesLimit {
				t.Errorf("%d blobs and %d uploads are remembered", blobs, uploads)
			}
			if got, err := r.Collect(t.Context()); err != nil || got.Links > 0 {
				t.Errorf("collected %+v, %v, though nobody knows what was promised", got, err)
			}
		})
	}
}
