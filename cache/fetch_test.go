package cache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestRandomReadsFetchLittle(t *testing.T) {
	data := bytesOf(20, 64<<20)
	src := newFake(data)
	c := open(t, Config{})
	b := handle(t, c, data, src)
	rng := rand.New(rand.NewPCG(1, 1))
	const reads = 50
	for range reads {
		wantRead(t, b, data, rng.IntN(len(data)-pageSize-8192), pageSize)
	}
	if n := src.ranges.Load(); n > reads {
		t.Errorf("%d requests for %d reads", n, reads)
	}
	if n := src.largest.Load(); n > 1<<20 {
		t.Errorf("a request of %d bytes for a page", n)
	}
	if n := src.asked.Load(); n > reads*256<<10 {
		t.Errorf("%d bytes asked for %d pages", n, reads)
	}
}

func TestManyReadersCauseOneDownload(t *testing.T) {
	data := bytesOf(21, 12<<20)
	src := newFake(data)
	c := open(t, Config{})
	var wg sync.WaitGroup
	for i := range 8 {
		b := handle(t, c, data, src)
		wg.Go(func() {
			got, err := readAll(b, len(data), 32<<10<<(i%3))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	verify(t, c)
	if n := src.given.Load(); n > int64(len(data))*11/10 {
		t.Errorf("%d bytes came for a blob of %d", n, len(data))
	}
	if s := c.Stats(); s.Downloads != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestReaderBehindASlowRangeDoesNotWaitForIt: the bytes would come with a
// running range, but only after many others.
func TestReaderBehindASlowRangeDoesNotWaitForIt(t *testing.T) {
	data := bytesOf(22, 40<<20)
	src, gate := newFake(data), holdAt(0)
	src.gate = func(ctx context.Context, at int64) error {
		if at >= 30<<20 && at < 31<<20 {
			return nil
		}
		return gate.wait(ctx, at)
	}
	c := open(t, Config{})
	all, some := handle(t, c, data, src), handle(t, c, data, src)
	done := make(chan error, 1)
	go func() { done <- all.Fetch(context.Background()) }()
	for src.ranges.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	wantRead(t, some, data, 30<<20, 4096)
	gate.release(int64(len(data)))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantAll(t, some, data)
}

// TestBytesAreHandedOutAsTheyArrive: a reader does not wait for the end of a
// range, only for the chunk that it reads.
func TestBytesAreHandedOutAsTheyArrive(t *testing.T) {
	data := bytesOf(23, 40<<20)
	src, gate := newFake(data), holdAt(chunkSize)
	src.step, src.gate = chunkSize, gate.wait
	c := open(t, Config{})
	b := handle(t, c, data, src)
	wantRead(t, b, data, 0, chunkSize)
	next := pending(b, chunkSize, 1)
	wantPending(t, next, "a chunk that did not come")
	gate.release(2 * chunkSize)
	if err := <-next; err != nil {
		t.Fatal(err)
	}
	if n := src.given.Load(); n != 2*chunkSize {
		t.Errorf("%d bytes came, want two chunks", n)
	}
}

// TestSequentialReaderCompletesTheBlob although it stops reading half-way, as
// long as it keeps the blob open.
func TestSequentialReaderCompletesTheBlob(t *testing.T) {
	data := bytesOf(24, 32<<20)
	src := newFake(data)
	c := open(t, Config{})
	b := handle(t, c, data, src)
	for off := 0; off < 4<<20; off += 128 << 10 {
		wantRead(t, b, data, off, 128<<10)
	}
	for began := time.Now(); !b.Stored(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not stored; stats %+v", c.Stats())
		}
	}
}

// TestLastCloseStopsTheDownload, and the next handle goes on with what came.
func TestLastCloseStopsTheDownload(t *testing.T) {
	data := bytesOf(25, 64<<20)
	src, gate := newFake(data), holdAt(10<<20)
	src.step, src.gate = chunkSize, gate.wait
	c := open(t, Config{})
	b := handle(t, c, data, src)
	done := make(chan error, 1)
	go func() { done <- b.Fetch(context.Background()) }()
	for src.given.Load() < 10<<20 {
		time.Sleep(time.Millisecond)
	}
	b.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the waiting Fetch: %v", err)
	}
	gate.release(int64(len(data)))
	settle(t, c)
	if n := src.given.Load(); n > 10<<20+4*(minRange+chunkSize) {
		t.Errorf("%d bytes came after the last handle closed", n-10<<20)
	}
	verify(t, c)
	before := src.given.Load()
	b = handle(t, c, data, src)
	wantAll(t, b, data)
	if n := src.given.Load() - before; n > int64(len(data))-9<<20 {
		t.Errorf("%d bytes came to complete a blob of %d with %d there", n, len(data), before)
	}
	if s := c.Stats(); s.Resumed != 1 {
		t.Errorf("stats %+v", s)
	}
}

// settle waits until no flight is left.
func settle(t *testing.T, c *Cache) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		n := len(c.flights)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d flights never end", n)
		}
	}
}

// TestBrokenReadAheadHurtsNobody: readers get the error of what they read.
func TestBrokenReadAheadHurtsNobody(t *testing.T) {
	data := bytesOf(26, 32<<20)
	broken := errors.New("broken")
	src := newFake(data)
	src.broken = func(at int64) error {
		if at >= 20<<20 {
			return broken
		}
		return nil
	}
	c := open(t, Config{})
	b := handle(t, c, data, src)
	for off := 0; off < 20<<20; off += 128 << 10 {
		wantRead(t, b, data, off, 128<<10)
	}
	p := make([]byte, 100)
	if _, err := b.ReadAt(context.Background(), p, 21<<20); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	wantRead(t, b, data, 1<<20, 100)
	src.set(func() { src.broken = nil })
	fetched := handle(t, c, data, newFake(data))
	wantAll(t, fetched, data)
}

// TestTailFirstFetchesEverythingInParallel: a slow source whose ranges help
// each other.
func TestTailFirstFetchesEverythingInParallel(t *testing.T) {
	s := &pattern{page: bytesOf(27, 1<<20+4096), size: 48 << 20}
	d := s.digest()
	s.rate, s.delay = 20<<20, 5*time.Millisecond
	var peak, now int
	var mu sync.Mutex
	c := open(t, Config{})
	b := c.Blob(d, s.size, counted{s, func(n int) {
		mu.Lock()
		defer mu.Unlock()
		now += n
		peak = max(peak, now)
	}})
	defer b.Close()
	p := make([]byte, 1)
	if _, err := b.ReadAt(context.Background(), p, s.size-1); err != nil {
		t.Fatal(err)
	}
	if !b.Stored() || peak < 3 {
		t.Errorf("stored %v, at most %d ranges at once", b.Stored(), peak)
	}
	if peak > defaultStreams {
		t.Errorf("%d ranges at once", peak)
	}
}

// TestClosingTheCacheEndsEveryWait.
func TestClosingTheCacheEndsEveryWait(t *testing.T) {
	data := bytesOf(28, 20<<20)
	src := newFake(data)
	src.gate = holdAt(1 << 20).wait
	c := open(t, Config{})
	b := handle(t, c, data, src)
	reads := []chan error{pending(b, 0, 2<<20), pending(b, 5<<20, 10)}
	for src.ranges.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	shut(t, c)
	for _, done := range reads {
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := b.ReadAt(context.Background(), make([]byte, 10), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
	late := c.Blob(digest.FromString("late"), 4, src)
	if _, err := late.ReadAt(context.Background(), make([]byte, 4), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("a new handle: %v", err)
	}
	late.Close()
	if err := c.Put(digest.FromString("x"), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v", err)
	}
}
