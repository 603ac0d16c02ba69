package cache

import (
	"bytes"
	"context"
	"hash"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// gatedHash is a hash that waits at its first byte.
type gatedHash struct {
	hash.Hash
	open <-chan struct{}
}

func (h gatedHash) Write(p []byte) (int, error) {
	<-h.open
	return h.Hash.Write(p)
}

// holdHash makes the hash of a download that is open wait until the function is
// called, at the end of the test at the latest.
func holdHash(t *testing.T, f *flight) (release func()) {
	open := make(chan struct{})
	release = sync.OnceFunc(func() { close(open) })
	t.Cleanup(release)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hasher = gatedHash{f.hasher, open}
	return release
}

// resumable leaves the first bytes of a blob as a partial download.
func resumable(t *testing.T, dir string, data []byte, upto int) {
	t.Helper()
	c := open(t, Config{Dir: dir})
	src := newFake(data)
	src.gate = func(ctx context.Context, at int64) error {
		if at < int64(upto) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	b := c.Blob(digest.FromBytes(data), int64(len(data)), src)
	for off := 0; off < upto; off += 1 << 20 {
		wantRead(t, b, data, off, 1<<20)
	}
	// Closed by Close, as what is on its way would arrive first.
	shut(t, c)
	b.Close()
}

// TestReaderDoesNotWaitForTheHashOfAnEarlierRun: much is there and has to be
// hashed again. Who reads on behind it gets its bytes as they come.
func TestReaderDoesNotWaitForTheHashOfAnEarlierRun(t *testing.T) {
	const there = 80 << 20
	data := bytesOf(62, 128<<20)
	dir := t.TempDir() + "/cache"
	resumable(t, dir, data, there)

	c := open(t, Config{Dir: dir, StallTimeout: 5 * time.Second})
	b := handle(t, c, data, newFake(data))
	wantRead(t, b, data, 0, pageSize) // the partial is open
	release := holdHash(t, b.f)
	for off := there - 4<<20; off < there+24<<20; off += 128 << 10 {
		p := make([]byte, 128<<10)
		if _, err := b.ReadAt(context.Background(), p, int64(off)); err != nil || !bytes.Equal(p, data[off:off+len(p)]) {
			t.Fatalf("at %d MiB: %v", off>>20, err)
		}
	}
	release()
	fetch(t, b)
	verify(t, c)
}

// TestReadAheadWaitsForTheHash: it goes on when the hash does, and when nobody
// wants it any more.
func TestReadAheadWaitsForTheHash(t *testing.T) {
	const there = 48 << 20
	data := bytesOf(63, 64<<20)
	for _, left := range []bool{false, true} {
		dir := t.TempDir() + "/cache"
		resumable(t, dir, data, there)
		c := open(t, Config{Dir: dir})
		src := newFake(data)
		b := handle(t, c, data, src)
		wantRead(t, b, data, 0, pageSize) // the partial is open
		release := holdHash(t, b.f)
		for off := 0; off < 4<<20; off += 128 << 10 {
			wantRead(t, b, data, off, 128<<10)
		}
		until(t, func() bool { return b.f.caughtUp != nil }, b.f)
		if n := src.given.Load(); n > 1<<20 { // the hash begins with the first that come
			t.Errorf("%d bytes came while the hash was %d behind", n, there)
		}
		if left {
			b.Close()
		}
		release()
		wantAll(t, handle(t, c, data, src), data)
		verify(t, c)
	}
}
