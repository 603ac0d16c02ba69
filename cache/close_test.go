package cache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestBlobOpenedWhileTheLastHandleClosesIsDownloaded: whichever of the two is
// first, the flight that the new handle is on does not stay paused.
func TestBlobOpenedWhileTheLastHandleClosesIsDownloaded(t *testing.T) {
	data := bytesOf(62, 1000)
	for range 10 {
		c := open(t, Config{StallTimeout: 300 * time.Millisecond})
		src := newFake(data)
		first := handle(t, c, data, src)
		var second *Blob
		var both sync.WaitGroup
		// Both wait for the lock. After a millisecond it is handed from one to
		// the other, who runs at once: Close is not done then.
		c.mu.Lock()
		both.Go(func() { first.Close() })
		for !first.closed.Load() {
			time.Sleep(10 * time.Microsecond)
		}
		both.Go(func() { second = handle(t, c, data, src) })
		time.Sleep(2 * time.Millisecond)
		c.mu.Unlock()
		c.mu.Lock()
		time.Sleep(100 * time.Microsecond)
		c.mu.Unlock()
		both.Wait()
		if _, err := second.ReadAt(context.Background(), make([]byte, 10), 0); err != nil {
			t.Fatalf("a source that is well was asked for %d ranges: %v", src.ranges.Load(), err)
		}
		second.Close()
	}
}

// The tests below take a read in its steps: a Close by someone else comes
// between two of them.

func TestReadWhoseHandleClosesBeforeItWaitsEndsAtOnce(t *testing.T) {
	data := bytesOf(63, 9<<20)
	c := open(t, Config{StallTimeout: time.Second})
	b := handle(t, c, data, newFake(data))
	b.Close()
	settle(t, c)
	if _, err := b.readPiece(context.Background(), make([]byte, 10), 5<<20); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestReadWhoseHandleClosesBeforeItLooksHoldsNoFile(t *testing.T) {
	data := bytesOf(64, 1<<20)
	c := open(t, Config{})
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	b.Close()
	settle(t, c)
	b = handle(t, c, data, nil)
	b.Close()
	if file := b.lookup(); file != nil {
		t.Error("a closed handle has opened the file")
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if n := c.ledger.items[digest.FromBytes(data)].open; n != 0 {
		t.Errorf("%d flights keep the file from eviction", n)
	}
}

func TestReadWhoseDownloadIsParkedBeforeItReadsIsErrClosed(t *testing.T) {
	data := bytesOf(65, 20<<20)
	for name, end := range map[string]func(t *testing.T, c *Cache, b *Blob){
		"the handle closes": func(t *testing.T, c *Cache, b *Blob) { b.Close(); settle(t, c) },
		"the cache closes":  func(t *testing.T, c *Cache, b *Blob) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Config{})
			src := newFake(data)
			src.gate = holdAt(8 << 20).wait
			b := handle(t, c, data, src)
			wantRead(t, b, data, 0, 1<<20)
			f := b.f
			f.mu.Lock()
			part := f.part
			f.mu.Unlock()
			end(t, c, b)
			if _, err := f.read(make([]byte, 16), 100); !errors.Is(err, ErrClosed) {
				t.Errorf("parked before the read: %v, want ErrClosed", err)
			}
			if err := f.readDisk(part, make([]byte, 16), 100); !errors.Is(err, ErrClosed) {
				t.Errorf("parked during the read: %v, want ErrClosed", err)
			}
		})
	}
}

// TestReadWhoseDownloadIsStoredMeanwhileIsAnswered, too: the partial is closed
// then, and the file has the bytes.
func TestReadWhoseDownloadIsStoredMeanwhileIsAnswered(t *testing.T) {
	data := bytesOf(66, 20<<20)
	c := open(t, Config{})
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	got := make([]byte, 1000)
	if n, err := b.f.read(got, 5<<20); err != nil || !bytes.Equal(got[:n], data[5<<20:][:1000]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
