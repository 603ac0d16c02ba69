package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
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

// TestHandleThatComesWhileTheLastOneLooks: the look of a handle that closes
// meanwhile is left out, and must not be the only one.
func TestHandleThatComesWhileTheLastOneLooks(t *testing.T) {
	data := bytesOf(63, smallBlob+1)
	c := open(t, Config{})
	first := handle(t, c, data, newFake(data))
	fetch(t, first)
	first.Close()
	settle(t, c)

	// Close of the last handle, up to where it has left the cache's lock.
	last := c.Blob(digest.FromBytes(data), int64(len(data)), nil)
	last.closed.Store(true)
	c.mu.Lock()
	last.f.handles--
	idle := last.f.handles == 0 && last.f.pause()
	c.mu.Unlock()
	last.lookup() // by a read that began before

	next := c.Blob(digest.FromBytes(data), int64(len(data)), nil)
	defer next.Close()
	if idle {
		c.retire(last.f)
	}
	wantRead(t, next, data, 0, 100)
}

// TestReadWhileADownloadBeginsAfresh: nobody has seen the wrong bytes of an earlier
// run, and nobody is told of them.
func TestReadWhileADownloadBeginsAfresh(t *testing.T) {
	data := bytesOf(64, smallBlob+1<<20)
	last := int64(len(data)/chunkSize-1) * chunkSize
	const readers = 8
	for range 5 {
		c := open(t, Config{})
		src := newFake(data)
		src.step, src.gate = chunkSize, holdAt(last).wait
		b := handle(t, c, data, src)
		for off := 0; off < int(last); off += 1 << 20 {
			wantRead(t, b, data, off, min(1<<20, int(last)-off))
		}
		b.Close()
		shut(t, c)
		partial, err := os.OpenFile(filepath.Join(c.Dir(), c.disk.partial(digest.FromBytes(data))), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		partial.WriteAt([]byte("wrong"), 1<<20)
		partial.Close()

		c = open(t, Config{Dir: c.Dir()})
		src = newFake(data)
		gate := holdAt(0)
		src.step, src.gate = chunkSize, gate.wait
		b = handle(t, c, data, src)
		answers := make(chan error, 1+readers)
		go func() { answers <- b.Fetch(context.Background()) }()
		for i := range readers {
			go func() {
				_, err := b.ReadAt(context.Background(), make([]byte, pageSize), last+int64(i)*pageSize)
				answers <- err
			}()
		}
		waiting := func() bool {
			b.f.mu.Lock()
			defer b.f.mu.Unlock()
			return b.f.hashed >= last && len(b.f.demands) == 1+readers
		}
		for !waiting() {
			time.Sleep(time.Millisecond)
		}
		gate.release(int64(len(data)))
		for range 1 + readers {
			// A reader who got its bytes before the digest was wrong has seen them.
			if err := <-answers; err != nil && !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
		}
	}
}
