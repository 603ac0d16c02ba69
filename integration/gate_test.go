package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// gate stands before a server. It keeps a record of every request and, where
// a test put a fault in place, answers badly.
type gate struct {
	next http.Handler

	mu      sync.Mutex // guards all below
	records []*record
	faults  map[int]fault
	added   int
}

// record is what the gate saw of one request. Bytes grows while the answer is
// sent.
type record struct {
	Method string
	Path   string // without the query
	Query  string
	Range  string // the request's header

	Status atomic.Int64
	Bytes  atomic.Int64 // of the answer's body, as far as it was sent
}

// fault is a misbehaviour: the requests it strikes, and what is done instead
// of serving them.
type fault struct {
	when match
	do   misdeed
}

type (
	match   func(*http.Request) bool
	misdeed func(w http.ResponseWriter, r *http.Request, next http.Handler)
)

func newGate(next http.Handler) *gate { return &gate{next: next, faults: map[int]fault{}} }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &record{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Range: r.Header.Get("Range")}
	g.mu.Lock()
	g.records = append(g.records, rec)
	var do misdeed
	for _, f := range g.faults {
		if f.when(r) {
			do = f.do
		}
	}
	g.mu.Unlock()

	w = &counted{ResponseWriter: w, rec: rec}
	if do != nil {
		do(w, r, g.next)
		return
	}
	g.next.ServeHTTP(w, r)
}

// add puts a fault in place. The function that it returns takes it away.
func (g *gate) add(when match, do misdeed) (lift func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.added++
	id := g.added
	g.faults[id] = fault{when, do}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.faults, id)
	}
}

// requests is what was asked since the last call of forget.
func (g *gate) requests() []*record {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*record(nil), g.records...)
}

// forget starts the records anew.
func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.records = nil
}

// count is how many requests since forget satisfy want.
func (g *gate) count(want func(*record) bool) int {
	n := 0
	for _, rec := range g.requests() {
		if want(rec) {
			n++
		}
	}
	return n
}

// bytesOf is how many bytes of a blob were sent since forget, whether by the
// registry or by its storage.
func (g *gate) bytesOf(d digest.Digest) int64 {
	var n int64
	for _, rec := range g.requests() {
		status := rec.Status.Load()
		if strings.Contains(rec.Path, d.Encoded()) && (status == http.StatusOK || status == http.StatusPartialContent) {
			n += rec.Bytes.Load()
		}
	}
	return n
}

// describe lists the requests since forget, for messages.
func (g *gate) describe() string {
	var lines strings.Builder
	for i, rec := range g.requests() {
		if i == 40 {
			lines.WriteString("…\n")
			break
		}
		fmt.Fprintf(&lines, "%s %s %s -> %d, %d bytes\n", rec.Method, rec.Path, rec.Range, rec.Status.Load(), rec.Bytes.Load())
	}
	return lines.String()
}

// counted notes an answer's status and size.
type counted struct {
	http.ResponseWriter
	rec *record
}

func (c *counted) WriteHeader(status int) {
	c.rec.Status.Store(int64(status))
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	c.rec.Status.CompareAndSwap(0, http.StatusOK)
	n, err := c.ResponseWriter.Write(p)
	c.rec.Bytes.Add(int64(n))
	return n, err
}

// ReadFrom keeps the server's way of sending files without copying them.
func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	c.rec.Status.CompareAndSwap(0, http.StatusOK)
	n, err := io.Copy(c.ResponseWriter, r)
	c.rec.Bytes.Add(n)
	return n, err
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

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
