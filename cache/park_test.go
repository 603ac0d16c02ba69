package cache

import (
	"context"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestVisitDuringParkingIsSafe: while a download that everybody left is synced to
// be parked, someone comes, has a range asked for, and leaves again. The range is
// still being written when the sync is over.
func TestVisitDuringParkingIsSafe(t *testing.T) {
	data := bytesOf(61, 16<<20)
	arrive := make(chan struct{})
	src := newFake(data)
	src.gate = func(ctx context.Context, at int64) error {
		if at < 4<<20 {
			return nil
		}
		select {
		case <-arrive:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c := open(t, Config{})
	first := handle(t, c, data, src)
	wantRead(t, first, data, 0, pageSize)
	f := first.f

	// The visitor's range is asked for, and stays between the source and the disk.
	visit, leave := context.WithCancel(context.Background())
	visited := make(chan struct{})
	go func() {
		defer close(visited)
		first.ReadAt(visit, make([]byte, pageSize), 8<<20)
	}()
	until(t, func() bool { return len(f.covering(chunkOf(8<<20))) > 0 }, f)
	writing := make(chan struct{})
	f.mu.Lock()
	f.asking, f.allowance, f.reserved = writing, 0, f.reserved-f.allowance
	f.mu.Unlock()
	close(arrive)
	until(t, func() bool { return f.writing.count > 0 }, f)
	leave()
	<-visited
	first.Close()

	f.park() // the sync that began before the visit is over
	f.mu.Lock()
	f.asking = nil
	f.mu.Unlock()
	close(writing)

	again := c.Blob(digest.FromBytes(data), int64(len(data)), src)
	defer again.Close()
	wantAll(t, again, data)
	verify(t, c)
}

// until polls for a state of a flight.
func until(t *testing.T, state func() bool, f *flight) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		reached := state()
		f.mu.Unlock()
		if reached {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the flight did not come to that state")
		}
	}
}
