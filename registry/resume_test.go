package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// breaking serves ranges whose body ends after so many bytes of each answer,
// in the way that end does.
func breaking(content []byte, after int, end func(w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		first := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
		rest := content[first:]
		w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		if len(rest) <= after {
			w.Write(rest)
			return
		}
		w.Write(rest[:after])
		w.(http.Flusher).Flush()
		end(w, r)
	}
}

func stall(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestBrokenBodiesAreResumedWhereTheyStopped(t *testing.T) {
	content := randomBytes(1 << 20)
	for name, end := range map[string]func(http.ResponseWriter, *http.Request){"cut": cut, "stalled": stall} {
		t.Run(name, func(t *testing.T) {
			f, d := newBlob(t, content, func(content []byte) http.HandlerFunc { return breaking(content, 300<<10, end) })
			c := newClient(t, f.URL, func(cfg *Config) { cfg.StallTimeout = 100 * time.Millisecond })
			got, err := readBlob(t, c, "r", d, 0, -1)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
			if got := c.Stats().Resumes; got != 3 {
				t.Errorf("resumed %d times, want 3", got)
			}
		})
	}
}

// TestBreakBeforeTheOffset: a server without ranges sends what lies before it, and
// a connection that breaks there is like any other.
func TestBreakBeforeTheOffset(t *testing.T) {
	content := randomBytes(1 << 20)
	broken := false
	f, d := newBlob(t, content, func(content []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			if !broken {
				broken = true
				w.Write(content[:100<<10])
				w.(http.Flusher).Flush()
				cut(w, r)
			}
			w.Write(content)
		}
	})
	got, err := readBlob(t, newClient(t, f.URL), "r", d, 512<<10, 1000)
	if err != nil || !bytes.Equal(got, content[512<<10:][:1000]) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestBlobThatEndsBeforeTheOffset is not an empty one.
func TestBlobThatEndsBeforeTheOffset(t *testing.T) {
	f, d := newBlob(t, nil, func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush() // of unknown length
			w.Write(make([]byte, 1000))
		}
	})
	for _, length := range []int64{10, -1} {
		if got, err := readBlob(t, newClient(t, f.URL), "r", d, 5000, length); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes from 5000 of 1000: got %d bytes, %v; want ErrCorrupt", length, len(got), err)
		}
	}
}

func TestCloseDuringARead(t *testing.T) {
	f, d := newBlob(t, nil, func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1024))
				w.(http.Flusher).Flush()
			}
		}
	})
	for range 10 {
		r, err := newClient(t, f.URL).OpenBlob(t.Context(), "r", d, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r)
			ended <- err
		}()
		time.Sleep(10 * time.Millisecond)
		r.Close()
		if err := <-ended; err == nil {
			t.Error("a reader that was closed came to the end")
		}
	}
}

func TestBodiesThatKeepBreakingEndInAnError(t *testing.T) {
	content := randomBytes(1 << 20)
	for name, row := range map[string]struct {
		end   func(http.ResponseWriter, *http.Request)
		after int
		want  error
	}{
		"cut at once":       {cut, 0, ErrUnavailable},
		"a trickle":         {cut, 100, ErrUnavailable},
		"stalled at once":   {stall, 0, ErrTimeout},
		"stalled trickling": {stall, 100, ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := newBlob(t, content, func(content []byte) http.HandlerFunc { return breaking(content, row.after, row.end) })
			c := newClient(t, f.URL, func(cfg *Config) { cfg.StallTimeout = 50 * time.Millisecond; cfg.MaxRetries = 3 })
			_, err := readBlob(t, c, "r", d, 0, -1)
			if !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if got := f.count("GET /v2/r/blobs"); got > 1+1+3 { // probe, open, MaxRetries
				t.Errorf("asked %d times", got)
			}
		})
	}
}

func TestHeadersThatNeverComeAreAStall(t *testing.T) {
	f, d := newBlob(t, nil, func([]byte) http.HandlerFunc { return stall })
	c := newClient(t, f.URL, func(cfg *Config) { cfg.StallTimeout = 50 * time.Millisecond; cfg.MaxRetries = 2 })
	_, err := readBlob(t, c, "r", d, 0, -1)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if got := f.count("GET /v2/r/blobs"); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
}

func TestSlowConsumerIsNotAStall(t *testing.T) {
	content := randomBytes(4 << 20) // more than socket buffers hold
	f, d := newBlob(t, content, serve)
	c := newClient(t, f.URL, func(cfg *Config) { cfg.StallTimeout = 30 * time.Millisecond })
	r, err := c.OpenBlob(t.Context(), "r", d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := make([]byte, 10)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // what is tested is the passing of time
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(first, rest...), content) {
		t.Errorf("got %d bytes, %v", len(rest), err)
	}
	if got := c.Stats().Resumes; got != 0 {
		t.Errorf("resumed %d times, want 0", got)
	}
}

func TestBlobThatChangesItsSizeIsCorrupt(t *testing.T) {
	content := randomBytes(1000)
	var asked atomic.Int64
	f, d := newBlob(t, content, func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) <= 2 {
				breaking(content, 500, cut)(w, r)
				return
			}
			breaking(content[:900], 900, cut)(w, r)
		}
	})
	if _, err := readBlob(t, newClient(t, f.URL), "r", d, 0, -1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}
