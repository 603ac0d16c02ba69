package integration

import (
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
