package cache

import (
	"context"
	"sync"
	"testing"
	"time"
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
