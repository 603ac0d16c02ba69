package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// A reader of the tail waits for the whole blob. A read-ahead that failed a
// moment ago must not keep it waiting when the source is healthy again.
func TestTailIsFetchedSoonAfterAFailedReadAhead(t *testing.T) {
	data := bytesOf(41, 40<<20)
	src := newFake(data)
	var failed atomic.Bool
	src.broken = func(at int64) error {
		if at >= 30<<20 && failed.CompareAndSwap(false, true) {
			return errors.New("connection lost")
		}
		return nil
	}
	c := open(t, Config{StallTimeout: 10 * time.Second})
	b := c.Blob(digest.FromBytes(data), int64(len(data)), src)
	defer b.Close()
	p := make([]byte, 128<<10)
	for off := int64(0); off < 4<<20; off += int64(len(p)) {
		if _, err := b.ReadAt(t.Context(), p, off); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); !failed.Load() || c.Stats().Failures == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the read-ahead did not come to where it fails")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // below the stall limit
	defer cancel()
	tail := make([]byte, 4<<10)
	if _, err := b.ReadAt(ctx, tail, int64(len(data)-len(tail))); err != nil && err != io.EOF {
		t.Fatalf("the tail: %v", err)
	}
	if !bytes.Equal(tail, data[len(data)-len(tail):]) {
		t.Error("the tail differs")
	}
}

// In strict mode everybody waits for the whole blob. When a range of it fails
// while another runs, each gets the error or the bytes, and nobody hangs.
func TestStrictReadersDoNotHangAfterAFailedRange(t *testing.T) {
	data := bytesOf(42, 12<<20)
	src := newFake(data)
	down := time.Now().Add(500 * time.Millisecond)
	src.fail = func(off, n int64) error {
		if off > 0 && time.Now().Before(down) {
			return errors.New("no connection")
		}
		return nil
	}
	src.step = 128 << 10
	src.gate = func(ctx context.Context, at int64) error {
		select {
		case <-time.After(5 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c := open(t, Config{Verify: VerifyStrict, StallTimeout: 30 * time.Second})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			b := c.Blob(digest.FromBytes(data), int64(len(data)), src)
			defer b.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // below the stall limit
			defer cancel()
			p := make([]byte, 4<<10)
			for {
				_, err := b.ReadAt(ctx, p, 0)
				if err == nil {
					return
				}
				if ctx.Err() != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				time.Sleep(50 * time.Millisecond) // as the kernel repeats
			}
		})
	}
	readers.Wait()
}

func TestStoredFileChangedWhileOpenIsNotServed(t *testing.T) {
	data := bytesOf(43, 1<<20)
	d, src := digest.FromBytes(data), newFake(data)
	c := open(t, Config{})
	holder := c.Blob(d, int64(len(data)), src)
	defer holder.Close()
	fetch(t, holder)
	wantRead(t, holder, data, 0, 10)
	file, err := os.OpenFile(c.disk.blob(d), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{^data[1000]}, 1000); err != nil {
		t.Fatal(err)
	}

	next := c.Blob(d, int64(len(data)), src)
	defer next.Close()
	if next.Stored() {
		t.Error("the changed file counts as stored")
	}
	if err := next.Err(); !errors.Is(err, ErrChanged) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Err = %v, want ErrCorrupt and ErrChanged", err)
	}
	// Nor any more to who has met the file before.
	if _, err := holder.ReadAt(t.Context(), make([]byte, 10), 995); !errors.Is(err, ErrChanged) {
		t.Errorf("the handle that has it open reads on: %v, want ErrChanged", err)
	}
	if _, ok := holder.File(); ok || holder.Stored() || !errors.Is(holder.Err(), ErrChanged) {
		t.Errorf("the handle that has it open: file %v, stored %v, err %v", ok, holder.Stored(), holder.Err())
	}
	again := c.Blob(d, int64(len(data)), src)
	defer again.Close()
	got := make([]byte, len(data))
	if _, err := again.ReadAt(t.Context(), got, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("wrong bytes were served")
	}
}
