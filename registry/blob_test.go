package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// newBlob is a plain registry that serves one blob of repository r with h.
func newBlob(t *testing.T, content []byte, h func(content []byte) http.HandlerFunc) (*fake, digest.Digest) {
	t.Helper()
	f := newPlain(t)
	d := digest.FromBytes(content)
	f.on("GET /v2/r/blobs/"+d.String(), h(content))
	return f, d
}

func serve(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// readBlob opens and reads, and returns the error of either.
func readBlob(t *testing.T, c *Client, repo string, d digest.Digest, off, n int64) ([]byte, error) {
	t.Helper()
	r, err := c.OpenBlob(t.Context(), repo, d, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestRangesAreExact(t *testing.T) {
	content := randomBytes(10_000)
	size := int64(len(content))
	for name, h := range map[string]func([]byte) http.HandlerFunc{
		"ranges": serve,
		"range ignored": func(content []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { w.Write(content) }
		},
		"range ignored, no length": func(content []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				w.Write(content)
			}
		},
		"ranges cut to 4096 bytes": func(content []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				var first, last int
				if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n < 2 {
					last = len(content) - 1
				}
				if first >= len(content) {
					reply(416, "", "Content-Range", fmt.Sprintf("bytes */%d", len(content)))(w, r)
					return
				}
				last = min(last, first+4095, len(content)-1)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(content[first : last+1])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := newBlob(t, content, h)
			c := newClient(t, f.URL)
			for _, span := range [][2]int64{{0, size}, {0, -1}, {0, 1}, {size - 1, 1}, {5000, 5000}, {5000, -1}, {17, 4711}, {3, 0}} {
				got, err := readBlob(t, c, "r", d, span[0], span[1])
				want := content[span[0]:]
				if span[1] >= 0 {
					want = want[:span[1]]
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("range %v: got %d bytes, %v; want %d", span, len(got), err, len(want))
				}
			}
			for _, span := range [][2]int64{{0, size + 1}, {size, 1}, {size + 5, 1}, {size + 5, -1}} {
				if got, err := readBlob(t, c, "r", d, span[0], span[1]); !errors.Is(err, ErrCorrupt) {
					t.Errorf("range %v beyond the end: got %d bytes, %v; want ErrCorrupt", span, len(got), err)
				}
			}
		})
	}
}

func TestEmptyBlob(t *testing.T) {
	f, d := newBlob(t, nil, serve)
	c := newClient(t, f.URL)
	if got, err := readBlob(t, c, "r", d, 0, -1); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	if err := c.ProbeBlob(t.Context(), "r", d); err != nil {
		t.Errorf("probe: %v", err)
	}
}

func TestWrongRangesAreRefused(t *testing.T) {
	content := randomBytes(1000)
	for _, contentRange := range []string{"", "bytes 0-99/1000", "bytes 100-299/1000", "bytes */1000", "bytes 100-99/1000", "items 100-199/1000", "bytes 100-199/150", "bytes +100-199/1000"} {
		f, d := newBlob(t, content, func([]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if contentRange != "" {
					w.Header().Set("Content-Range", contentRange)
				}
				w.WriteHeader(http.StatusPartialContent)
				w.Write(content[100:200])
			}
		})
		if got, err := readBlob(t, newClient(t, f.URL), "r", d, 100, 100); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Content-Range %q: got %d bytes, %v; want ErrUnavailable", contentRange, len(got), err)
		}
	}
}

func TestContentEncodingIsNotUndone(t *testing.T) {
	content := []byte("\x1f\x8b these are the blob's own bytes")
	f, d := newBlob(t, content, func(content []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			serve(content)(w, r)
		}
	})
	if got, err := readBlob(t, newClient(t, f.URL), "r", d, 0, -1); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, got := range f.headers("GET /v2/r/blobs", "Accept-Encoding") {
		if got != "identity" {
			t.Errorf("sent Accept-Encoding %q, want identity", got)
		}
	}
}

func TestParallelRangesOfOneBlobAskTheRegistryOnce(t *testing.T) {
	a := newAzure(t)
	content := randomBytes(8 << 10)
	d := a.blob("team/app", content)
	c := newClient(t, a.URL)
	var group sync.WaitGroup
	for i := range int64(8) {
		group.Go(func() {
			got, err := readBlob(t, c, "team/app", d, i<<10, 1<<10)
			if err != nil || !bytes.Equal(got, content[i<<10:(i+1)<<10]) {
				t.Errorf("range %d: got %d bytes, %v", i, len(got), err)
			}
		})
	}
	group.Wait()
	// The very first request is answered with the challenge.
	if got := a.count("GET /v2/team/app/blobs/"); got > 2 {
		t.Errorf("the registry was asked %d times, want once and a challenge", got)
	}
	if got := a.storage.count("GET "); got != 8 {
		t.Errorf("storage was asked %d times, want 8", got)
	}
}

func TestProbeIsOneExchangeAndIsUsedByTheRead(t *testing.T) {
	a := newAzure(t)
	d := a.blob("r", []byte("content"))
	c := newClient(t, a.URL)
	if err := c.Ping(t.Context()); err != nil { // learns how to log in
		t.Fatal(err)
	}
	for range 3 {
		if err := c.ProbeBlob(t.Context(), "r", d); err != nil {
			t.Fatal(err)
		}
	}
	if registry, storage := a.count("GET /v2/r/blobs/"), a.storage.count("GET "); registry != 1 || storage != 0 {
		t.Errorf("probing took %d requests to the registry and %d to storage, want 1 and 0", registry, storage)
	}
	mustRead(t, c, "r", d, 2, 3)
	if got := a.count("GET /v2/r/blobs/"); got != 1 {
		t.Errorf("the read asked the registry again: %d", got)
	}
	if err := c.ProbeBlob(t.Context(), "r", someDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing blob: got %v, want ErrNotFound", err)
	}
}

func TestExpiredAddressIsAskedForAgainOnce(t *testing.T) {
	xml := func(status int, code string) http.HandlerFunc {
		return reply(status, "<?xml version=\"1.0\"?><Error><Code>"+code+"</Code><Message>secret details</Message></Error>", "Content-Type", "application/xml")
	}
	for name, refusal := range map[string]http.HandlerFunc{
		"azure":   xml(403, "AuthenticationFailed"),
		"minimal": reply(403, ""),
		"aws":     xml(400, "ExpiredToken"),
		"moved":   xml(404, "NoSuchKey"),
	} {
		t.Run(name, func(t *testing.T) {
			a := newAzure(t)
			content := []byte("content")
			d := a.blob("r", content)
			route := "GET /data/" + d.Encoded()
			a.storage.on(route, inTurn(serve(content), refusal, serve(content)))
			c := newClient(t, a.URL)
			for range 2 {
				if got := mustRead(t, c, "r", d, 0, -1); !bytes.Equal(got, content) {
					t.Errorf("got %q", got)
				}
			}
			a.storage.on(route, refusal)
			before := a.count("GET /v2/r/blobs/")
			_, err := readBlob(t, c, "r", d, 0, -1)
			if err == nil || strings.Contains(err.Error(), "sig=") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
			if got := a.count("GET /v2/r/blobs/") - before; got != 1 {
				t.Errorf("the registry was asked %d times, want 1", got)
			}
		})
	}
}

func TestNoTokenLeavesTheRegistry(t *testing.T) {
	// Another port of the same host name is another server.
	a, other := newAzure(t), newFake(t)
	content := []byte("content")
	d := digest.FromBytes(content)
	a.guard("GET /v2/r/blobs/"+d.String(), pullScope("r"), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/first", http.StatusFound)
	})
	other.on("GET /first", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/second?sig=x", http.StatusMovedPermanently)
	})
	other.on("GET /second", serve(content))
	if got := mustRead(t, newClient(t, a.URL), "r", d, 1, 3); string(got) != "ont" {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{"Authorization", "Cookie"} {
		for _, h := range other.headers("GET ", name) {
			if h != "" {
				t.Errorf("%s went to another port: %q", name, h)
			}
		}
	}
	if got := other.headers("GET /second", "Range"); len(got) != 1 || got[0] != "bytes=1-3" {
		t.Errorf("the range was lost on the way: %q", got)
	}
}

func TestRedirectsThatAreRefused(t *testing.T) {
	for name, location := range map[string]string{
		"nowhere":  "",
		"scheme":   "ftp://h/x",
		"itself":   "SELF",
		"userinfo": "http://u:p@127.0.0.1/x?sig=secret",
		"garbage":  "http://%zz?sig=secret",
	} {
		t.Run(name, func(t *testing.T) {
			f, d := newBlob(t, []byte("x"), func([]byte) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if location != "" {
						w.Header().Set("Location", strings.Replace(location, "SELF", r.URL.Path, 1))
					}
					w.WriteHeader(http.StatusTemporaryRedirect)
				}
			})
			_, err := readBlob(t, newClient(t, f.URL), "r", d, 0, -1)
			if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	t.Run("endless", func(t *testing.T) {
		f, d := newBlob(t, []byte("x"), func([]byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a", http.StatusFound) }
		})
		f.on("GET /a", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusFound) })
		f.on("GET /b", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a", http.StatusFound) })
		_, err := readBlob(t, newClient(t, f.URL), "r", d, 0, -1)
		if !errors.Is(err, ErrUnavailable) || len(f.requests()) > 10 {
			t.Errorf("got %v after %d requests", err, len(f.requests()))
		}
	})
	t.Run("https to http", func(t *testing.T) {
		https := parsed(t, "https://r.example/v2/")
		resp := &http.Response{Header: http.Header{"Location": {"http://storage.example/x?sig=secret"}}}
		if _, problem := redirectTarget(https, https, resp); problem == "" || strings.Contains(problem, "secret") {
			t.Errorf("got %q", problem)
		}
	})
}

func TestSignedUntil(t *testing.T) {
	server := time.Date(2026, 2, 3, 10, 0, 0, 0, time.UTC)
	local := server.Add(3 * time.Hour) // a clock that is wrong does not matter
	for _, row := range []struct {
		url  string
		life time.Duration
	}{
		{"https://s/x?se=2026-02-03T10%3A10%3A00Z&sig=x", 9 * time.Minute},
		{"https://s/x?se=2026-02-03T10%3A20%3A00Z&sig=x", 14 * time.Minute}, // never more than maxLife
		{"https://s/x?se=2026-02-03T09%3A00%3A00Z&sig=x", 0},
		{"https://s/x?X-Amz-Date=20260203T100000Z&X-Amz-Expires=100", 90 * time.Second},
		{"https://s/x?X-Goog-Date=20260203T095900Z&X-Goog-Expires=160", 90 * time.Second},
		{"https://s/x?X-Amz-Expires=100", 90 * time.Second},
		{fmt.Sprintf("https://s/x?Expires=%d", server.Add(100*time.Second).Unix()), 90 * time.Second},
		{"https://s/x", defaultLife - defaultLife/10},
		{"https://s/x?se=garbage&Expires=garbage&X-Amz-Expires=99999999999", defaultLife - defaultLife/10},
	} {
		if got := signedUntil(parsed(t, row.url), server, local).Sub(local); got != row.life {
			t.Errorf("%s: got %v, want %v", row.url, got, row.life)
		}
	}
}

func TestBlobSize(t *testing.T) {
	a := newAzure(t)
	content := []byte("content")
	d := a.blob("r", content)
	c := newClient(t, a.URL)
	head := "HEAD /v2/r/blobs/" + d.String()
	a.guard(head, pullScope("r"), reply(200, "", "Content-Length", "7"))
	for name, h := range map[string]http.HandlerFunc{
		"plain":   reply(200, "", "Content-Length", "7"),
		"no HEAD": reply(405, ""),
		"without": func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Length"] = nil; w.WriteHeader(200) },
		"signed for GET": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, a.storage.elsewhere()+"/data/forbidden", http.StatusTemporaryRedirect)
		},
	} {
		a.storage.on("HEAD /data/forbidden", reply(403, ""))
		a.guard(head, pullScope("r"), h)
		if got, err := c.BlobSize(t.Context(), "r", d); err != nil || got != 7 {
			t.Errorf("%s: got %d, %v", name, got, err)
		}
	}
	if _, err := c.BlobSize(t.Context(), "r", someDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestHeadReservesNoMemoryForTheBlob that it tells the size of.
func TestHeadReservesNoMemoryForTheBlob(t *testing.T) {
	f := newPlain(t)
	f.on("HEAD /v2/r/blobs/"+someDigest, reply(200, "", "Content-Length", "5000000000"))
	c := newClient(t, f.URL)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if size, err := c.BlobSize(t.Context(), "r", someDigest); err != nil || size != 5000000000 {
			t.Fatalf("got %d, %v", size, err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 10; each > maxPage/4 {
		t.Errorf("%d bytes for each", each)
	}
}

// TestLongHeadersAreRefused, as what is in them is kept.
func TestLongHeadersAreRefused(t *testing.T) {
	for length, ok := range map[int]bool{8 << 10: true, 100 << 10: false} {
		f := newPlain(t)
		f.on("GET /v2/r/blobs/"+someDigest, reply(307, "", "Location", f.elsewhere()+"/data?sig="+strings.Repeat("x", length)))
		c := newClient(t, f.URL, func(cfg *Config) { cfg.MaxRetries = -1 })
		if err := c.ProbeBlob(t.Context(), "r", someDigest); (err == nil) != ok || strings.Contains(fmt.Sprint(err), "xxx") {
			t.Errorf("an address of %d bytes: %v", length, err)
		}
	}
}

func TestCancelledReadIsTheCallersError(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	f, d := newBlob(t, make([]byte, 100), func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write(make([]byte, 10))
			w.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := newClient(t, f.URL).OpenBlob(ctx, "r", d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
