package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestManyReadersOfManyBlobsUnderPressure mixes everything: random and
// sequential readers that come and go, sources that fail now and then, a cache
// too small for half of the blobs. Whatever is read is right, the invariants
// hold all the while, and nothing is left at the end.
func TestManyReadersOfManyBlobsUnderPressure(t *testing.T) {
	hiccup := errors.New("hiccup")
	c := open(t, Config{Size: 24 << 20, Streams: 4})
	var blobs [][]byte
	for i, size := range []int{100, 1 << 20, 5<<20 + 1, 9 << 20, 12<<20 + 77, 10 << 20} {
		blobs = append(blobs, bytesOf(byte(100+i), size))
	}
	deadline := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 1))
			for time.Now().Before(deadline) {
				data := blobs[rng.IntN(len(blobs))]
				src := newFake(data)
				if rng.IntN(4) == 0 {
					src.broken = func(at int64) error {
						if at%7 == 3 || at > 3<<20 {
							return hiccup
						}
						return nil
					}
				}
				if err := use(c, data, src, rng); err != nil && !errors.Is(err, hiccup) {
					t.Errorf("worker %d: %v", worker, err)
					return
				}
			}
		})
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for time.Now().Before(deadline) {
			verify(t, c)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	wg.Wait()
	<-watched
	settle(t, c)
	if s := c.Stats(); s.Evicted != 0 || s.Stored+s.Partial > s.Limit || s.Corruptions != 0 {
		t.Errorf("stats %+v", s)
	}
}

// use opens a blob, reads some of it in one way or another, and closes it.
func use(c *Cache, data []byte, src Source, rng *rand.Rand) error {
	b := c.Blob(digest.FromBytes(data), int64(len(data)), src)
	defer b.Close()
	switch rng.IntN(3) {
	case 0:
		return b.Fetch(context.Background())
	case 1:
		got, err := readAll(b, len(data), 128<<10)
		if err == nil && !bytes.Equal(got, data) {
			return fmt.Errorf("wrong bytes of %d", len(data))
		}
		return err
	}
	for range 1 + rng.IntN(10) {
		off := rng.IntN(len(data))
		p := make([]byte, min(len(data)-off, 1+rng.IntN(100_000)))
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(200))*time.Millisecond)
		n, err := b.ReadAt(ctx, p, int64(off))
		cancel()
		if !bytes.Equal(p[:n], data[off:off+n]) {
			return fmt.Errorf("wrong bytes at %d", off)
		}
		if err == nil && n < len(p) {
			return fmt.Errorf("%d of %d bytes without an error", n, len(p))
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}
