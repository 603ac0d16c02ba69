package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// bytesOf makes n bytes that do not repeat, the same for the same seed.
func bytesOf(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// fake is a Source in memory that does as told.
type fake struct {
	data []byte

	ranges  atomic.Int64 // asked for
	asked   atomic.Int64 // bytes asked for
	given   atomic.Int64 // bytes given
	largest atomic.Int64

	mu     sync.Mutex
	fail   func(off, n int64) error // of OpenRange
	broken func(at int64) error     // of Read, before the byte at
	gate   func(ctx context.Context, at int64) error
	step   int // most bytes of one Read
}

func newFake(data []byte) *fake { return &fake{data: data} }

func (s *fake) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *fake) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	s.ranges.Add(1)
	s.asked.Add(n)
	for old := s.largest.Load(); n > old && !s.largest.CompareAndSwap(old, n); old = s.largest.Load() {
	}
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(off, n); err != nil {
			return nil, err
		}
	}
	return &fakeBody{s: s, ctx: ctx, at: off, end: off + n}, nil
}

type fakeBody struct {
	s       *fake
	ctx     context.Context
	at, end int64
}

func (b *fakeBody) Close() error { return nil }

func (b *fakeBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	b.s.mu.Lock()
	broken, gate, step := b.s.broken, b.s.gate, b.s.step
	b.s.mu.Unlock()
	if gate != nil {
		if err := gate(b.ctx, b.at); err != nil {
			return 0, err
		}
	}
	if broken != nil {
		if err := broken(b.at); err != nil {
			return 0, err
		}
	}
	end := min(b.end, int64(len(b.s.data)))
	if b.at >= end {
		return 0, io.EOF
	}
	if step > 0 && len(p) > step {
		p = p[:step]
	}
	n := copy(p, b.s.data[b.at:end])
	b.at += int64(n)
	b.s.given.Add(int64(n))
	return n, nil
}

// logged collects what a cache logs.
type logged struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.lines.Bytes(), []byte(text))
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// open opens a cache that is checked and closed at the end of the test.
func open(t testing.TB, cfg Config) *Cache {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "cache")
	}
	if cfg.Size == 0 {
		cfg.Size = 4 << 30
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = 20 * time.Second // a test that hangs says so
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// shut closes a cache and checks its books.
func shut(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	verify(t, c)
}

func verify(t testing.TB, c *Cache) {
	t.Helper()
	if problem := c.ledger.check(); problem != "" {
		t.Errorf("the ledger is wrong: %s", problem)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		if problem := f.check(); problem != "" {
			t.Errorf("a flight is wrong: %s", problem)
		}
	}
}

// handle opens a blob that is closed at the end of the test.
func handle(t testing.TB, c *Cache, data []byte, src Source) *Blob {
	t.Helper()
	b := c.Blob(digest.FromBytes(data), int64(len(data)), src)
	t.Cleanup(func() { b.Close() })
	return b
}

// readAll reads a blob from one end to the other in pieces of n bytes.
func readAll(b *Blob, size, n int) ([]byte, error) {
	var got []byte
	p := make([]byte, n)
	for off := 0; ; {
		m, err := b.ReadAt(context.Background(), p, int64(off))
		got = append(got, p[:m]...)
		off += m
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if m != len(p) {
			return got, fmt.Errorf("a read of %d bytes at %d is short: %d", len(p), off, m)
		}
		if off > size {
			return got, fmt.Errorf("%d bytes of %d", off, size)
		}
	}
}

func wantRead(t testing.TB, b *Blob, data []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := b.ReadAt(context.Background(), p, int64(off))
	want := data[min(off, len(data)):min(off+n, len(data))]
	if err == io.EOF && off+n >= len(data) {
		err = nil
	}
	if err != nil || !bytes.Equal(p[:got], want) {
		t.Fatalf("read of %d bytes at %d: %d bytes, equal %v, error %v", n, off, got, bytes.Equal(p[:got], want), err)
	}
}

func wantAll(t testing.TB, b *Blob, data []byte) {
	t.Helper()
	got, err := readAll(b, len(data), 128<<10)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("reading all: %d of %d bytes, equal %v, error %v", len(got), len(data), bytes.Equal(got, data), err)
	}
}

func fetch(t testing.TB, b *Blob) {
	t.Helper()
	if err := b.Fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// storedFile is where a blob lies in the store.
func storedFile(t testing.TB, c *Cache, data []byte) string {
	t.Helper()
	path := c.disk.blob(digest.FromBytes(data))
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// counted tells how many ranges are open at once.
type counted struct {
	Source
	change func(n int)
}

func (s counted) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	s.change(1)
	body, err := s.Source.OpenRange(ctx, off, n)
	if err != nil {
		s.change(-1)
		return nil, err
	}
	return &countedBody{body, s.change}, nil
}

type countedBody struct {
	io.ReadCloser
	change func(n int)
}

func (b *countedBody) Close() error {
	b.change(-1)
	return b.ReadCloser.Close()
}

// swapped is one source first and another later.
type swapped struct {
	first, then *fake
	swap        atomic.Bool
}

func (s *swapped) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if s.swap.Load() {
		return s.then.OpenRange(ctx, off, n)
	}
	return s.first.OpenRange(ctx, off, n)
}
