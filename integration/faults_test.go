package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// Which requests a fault strikes.

// always strikes everything.
func always(*http.Request) bool { return true }

// contentOf strikes every reading of a blob's bytes: at the registry, and at
// the storage that the registry redirects to.
func contentOf(d digest.Digest) match {
	return func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, d.Encoded()) && strings.Contains(r.URL.Path, "/blobs/")
	}
}

// about strikes every request whose path holds part.
func about(part string) match {
	return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
}

// isGet strikes what asks for a body.
func isGet(r *http.Request) bool { return r.Method == http.MethodGet }

// listing strikes requests for one kind of list, whichever dialect asks:
// "catalog", "tags" or "manifests".
func listing(kind string) match {
	return func(r *http.Request) bool { return isListing(r.URL.Path, kind) }
}

func isListing(path, kind string) bool {
	switch kind {
	case "catalog":
		return strings.HasSuffix(path, "/_catalog")
	case "tags":
		return strings.HasSuffix(path, "/_tags") || strings.HasSuffix(path, "/tags/list")
	case "manifests":
		return strings.HasSuffix(path, "/_manifests")
	}
	panic("unknown kind of listing: " + kind)
}

// both strikes what satisfies a and b.
func both(a, b match) match {
	return func(r *http.Request) bool { return a(r) && b(r) }
}

// times strikes the first n requests of those that m strikes.
func times(n int64, m match) match {
	var seen atomic.Int64
	return func(r *http.Request) bool { return m(r) && seen.Add(1) <= n }
}

// What a fault does.

// answer answers with a status and an error as registries write it.
func answer(status int, code string) misdeed {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"this is a test"}]}`+"\n", code)
		}
	}
}

// throttle answers 429 and asks to come back after that many seconds.
func throttle(seconds string) misdeed {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Retry-After", seconds)
		answer(http.StatusTooManyRequests, "TOOMANYREQUESTS")(w, r, next)
	}
}

// hangUp drops the connection instead of an answer.
func hangUp(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// hold waits, at most until the client leaves, for release and serves then.
func hold(release <-chan struct{}) misdeed {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-release:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// corrupt flips the byte at offset of the whole blob, whichever range of it is
// being sent.
func corrupt(offset int64) misdeed {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&tampered{ResponseWriter: w, change: func(at int64, p []byte) ([]byte, error) {
			if i := offset - at; i >= 0 && i < int64(len(p)) {
				p = bytes.Clone(p)
				p[i] ^= 0xff
			}
			return p, nil
		}}, r)
	}
}

// breakAfter drops the connection after n bytes of each body.
func breakAfter(n int64) misdeed {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		left := n
		next.ServeHTTP(&tampered{ResponseWriter: w, change: func(_ int64, p []byte) ([]byte, error) {
			if int64(len(p)) > left {
				return p[:left], http.ErrAbortHandler
			}
			left -= int64(len(p))
			return p, nil
		}}, r)
	}
}

// stallAfter sends n bytes of each body, and the rest after release was
// closed. When the client leaves first, it ends.
func stallAfter(n int64, release <-chan struct{}) misdeed {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		left := n
		next.ServeHTTP(&tampered{ResponseWriter: w, change: func(_ int64, p []byte) ([]byte, error) {
			if left -= int64(len(p)); left < 0 {
				http.NewResponseController(w).Flush()
				select {
				case <-release:
				case <-r.Context().Done():
					return nil, http.ErrAbortHandler
				}
			}
			return p, nil
		}}, r)
	}
}

// tampered hands the bodies of good answers to change on their way out.
// Change gets the offset in the whole blob of p's first byte; its error drops
// the connection once what it returned was sent.
type tampered struct {
	http.ResponseWriter
	change func(at int64, p []byte) ([]byte, error)

	status int
	at     int64
}

func (t *tampered) WriteHeader(status int) {
	t.status = status
	if status == http.StatusPartialContent {
		fmt.Sscanf(t.Header().Get("Content-Range"), "bytes %d-", &t.at)
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tampered) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	if t.status != http.StatusOK && t.status != http.StatusPartialContent {
		return t.ResponseWriter.Write(p)
	}
	changed, err := t.change(t.at, p)
	t.at += int64(len(p))
	if n, writeErr := t.ResponseWriter.Write(changed); writeErr != nil {
		return n, writeErr
	}
	if err != nil {
		http.NewResponseController(t.ResponseWriter).Flush()
		panic(err)
	}
	return len(p), nil
}

func (t *tampered) Unwrap() http.ResponseWriter { return t.ResponseWriter }
