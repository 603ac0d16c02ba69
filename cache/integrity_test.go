package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// held is a gate that lets a source go on up to an offset.
type held struct {
	mu   sync.Mutex
	upto int64
	more chan struct{}
}

func holdAt(upto int64) *held { return &held{upto: upto, more: make(chan struct{})} }

func (h *held) release(upto int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upto = upto
	close(h.more)
	h.more = make(chan struct{})
}

func (h *held) wait(ctx context.Context, at int64) error {
	for {
		h.mu.Lock()
		upto, more := h.upto, h.more
		h.mu.Unlock()
		if at < upto {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pending starts a read and returns where its result will be.
func pending(b *Blob, off int64, n int) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := b.ReadAt(context.Background(), make([]byte, n), off)
		done <- err
	}()
	return done
}

func wantPending(t *testing.T, done chan error, what string) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("%s was answered too early: %v", what, err)
	case <-time.After(50 * time.Millisecond):
	}
}

// TestBytesAreWithheldUntilVerified looks at the moment in which all bytes but
// the last have come.
func TestBytesAreWithheldUntilVerified(t *testing.T) {
	for _, test := range []struct {
		name     string
		size     int64
		verify   Verify
		withheld int64 // from here on
	}{
		{"small", smallBlob, VerifyStream, 0},
		{"large", smallBlob + 1, VerifyStream, smallBlob},
		{"large, whole pages", smallBlob + pageSize, VerifyStream, smallBlob},
		{"large, strict", smallBlob + 1, VerifyStrict, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := bytesOf(4, int(test.size))
			src, gate := newFake(data), holdAt(test.size-2000)
			src.step, src.gate = 1000, gate.wait
			c := open(t, Config{Verify: test.verify})
			b := handle(t, c, data, src)
			if test.withheld > 0 {
				wantRead(t, b, data, 0, 100)
				wantRead(t, b, data, int(test.withheld)-2*chunkSize, 100)
			}
			first := pending(b, test.withheld, 1)
			across := pending(b, test.withheld-min(test.withheld, 1), 2)
			// Everything but the end of the last read of the source has come.
			for src.given.Load() < test.size-2000 {
				time.Sleep(time.Millisecond)
			}
			wantPending(t, first, "a read of the first withheld byte")
			wantPending(t, across, "a read across the border")
			if b.Stored() {
				t.Error("stored before it is whole")
			}
			gate.release(test.size)
			if err := errors.Join(<-first, <-across); err != nil {
				t.Fatal(err)
			}
			wantAll(t, b, data)
		})
	}
}

// TestWrongBytesKillEveryHandle: whatever was read before, after the mismatch
// every read is an error, nothing is kept, and the next handle begins afresh.
func TestWrongBytesKillEveryHandle(t *testing.T) {
	for _, size := range []int{1000, smallBlob, 20 << 20} {
		good := bytesOf(5, size)
		bad := bytes.Clone(good)
		bad[size/2] ^= 1
		var log logged
		c := open(t, Config{Logger: log.logger()})
		src := newFake(bad)
		b, other := handle(t, c, good, src), handle(t, c, good, src)
		got, err := readAll(b, size, 100<<10)
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("size %d: reading all: %d bytes, %v", size, len(got), err)
		}
		if limit := (size - 1) / pageSize * pageSize; size <= smallBlob && len(got) > 0 || len(got) > limit {
			t.Errorf("size %d: %d bytes were served", size, len(got))
		}
		for _, b := range []*Blob{b, other} {
			for _, off := range []int64{0, int64(size) - 1} {
				if _, err := b.ReadAt(context.Background(), make([]byte, 1), off); !errors.Is(err, ErrCorrupt) {
					t.Errorf("size %d: read at %d after the mismatch: %v", size, off, err)
				}
			}
			if _, ok := b.File(); ok || b.Stored() || !errors.Is(b.Err(), ErrCorrupt) {
				t.Errorf("size %d: file %v, err %v", size, ok, b.Err())
			}
			if err := b.Fetch(context.Background()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("size %d: fetch: %v", size, err)
			}
		}
		if n := log.count("blob is corrupt"); n != 1 {
			t.Errorf("size %d: logged %d times", size, n)
		}
		if log.count(digest.FromBytes(bad).String()) != 1 {
			t.Errorf("size %d: the log does not say what came", size)
		}
		fresh := handle(t, c, good, newFake(good))
		wantAll(t, fresh, good)
		if !errors.Is(b.Err(), ErrCorrupt) {
			t.Error("a dead handle came back to life")
		}
		for _, b := range []*Blob{b, other, fresh} {
			b.Close()
		}
	}
}

// TestHandleOfACorruptBlobLeavesTheNextDownloadAlone, also when it is closed
// while that one is under way: the partial of that has the name of its own.
func TestHandleOfACorruptBlobLeavesTheNextDownloadAlone(t *testing.T) {
	good := bytesOf(14, 12<<20)
	bad := bytes.Clone(good)
	bad[5<<20] ^= 1
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, Config{Dir: dir})
	dead := handle(t, c, good, newFake(bad))
	if err := dead.Fetch(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	src, gate := newFake(good), holdAt(6<<20)
	src.gate = gate.wait
	fresh := handle(t, c, good, src)
	wantRead(t, fresh, good, 0, 1<<20)
	until(t, func() bool { return dead.f.active == 0 }, dead.f)
	dead.Close()
	fresh.f.mu.Lock()
	part := fresh.f.part
	fresh.f.mu.Unlock()
	for _, file := range []*os.File{part.file, part.ranges} {
		if !samePath(file, file.Name()) {
			t.Errorf("%s was removed", filepath.Base(file.Name()))
		}
	}
	if !c.ledger.isMine(part.key) {
		t.Error("the partial counts as another process's")
	}
	gate.release(int64(len(good)))
	fetch(t, fresh)
	if !fresh.Stored() {
		t.Error("the blob is not stored")
	}
	until(t, func() bool { return fresh.f.active == 0 }, fresh.f)
	if c.ledger.isMine(part.key) {
		t.Error("the stored blob still has a partial")
	}
}

// TestSizeIsPartOfTheContent: a blob that is longer or shorter than its
// descriptor says is corrupt, whatever its digest.
func TestSizeIsPartOfTheContent(t *testing.T) {
	data := bytesOf(6, 9<<20)
	d := digest.FromBytes(data)
	c := open(t, Config{})
	for _, size := range []int64{int64(len(data)) - 1, int64(len(data)) + 1, 5, 0, 20 << 20} {
		for range 2 { // the second time the right one is stored
			b := c.Blob(d, size, longer{newFake(data)})
			if err := b.Fetch(context.Background()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("size %d: %v", size, err)
			}
			b.Close()
			right := c.Blob(d, int64(len(data)), newFake(data))
			fetch(t, right)
			right.Close()
		}
	}
}

// TestEmptyBlobIsVerifiedBeforeItsEndIsRead: that nothing is all of it is to be
// found out, too.
func TestEmptyBlobIsVerifiedBeforeItsEndIsRead(t *testing.T) {
	for _, verify := range []Verify{VerifyStream, VerifyStrict} {
		c := open(t, Config{Verify: verify})
		b := handle(t, c, nil, newFake(nil))
		wantAll(t, b, nil)
		b.Close()
		data := bytesOf(15, 1000)
		wrong := c.Blob(digest.FromBytes(data), 0, newFake(data))
		if _, err := wrong.ReadAt(context.Background(), make([]byte, 10), 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a blob of 1000 bytes that is said to be empty: %v, want ErrCorrupt", err)
		}
		wrong.Close()
	}
}

// longer is a source that does not stop where it was asked to.
type longer struct{ *fake }

func (s longer) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return s.fake.OpenRange(ctx, off, int64(len(s.data))-off+n)
}

// TestChangedFileIsNeverServed: what another program does to the store between
// two runs is found out at the first open.
func TestChangedFileIsNeverServed(t *testing.T) {
	data := bytesOf(7, 9<<20)
	for name, change := range map[string]func(path string) error{
		"one byte": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			info, _ := f.Stat()
			if _, err := f.WriteAt([]byte("x"), 5<<20); err != nil {
				return err
			}
			// Hide it as well as one can.
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		},
		"truncated": func(path string) error { return os.Truncate(path, 1000) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"removed":   os.Remove,
		"replaced": func(path string) error {
			os.Remove(path)
			return os.WriteFile(path, bytesOf(8, 9<<20), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			c := open(t, Config{Dir: dir})
			b := handle(t, c, data, newFake(data))
			fetch(t, b)
			path := storedFile(t, c, data)
			b.Close()
			shut(t, c)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			c = open(t, Config{Dir: dir})
			b = handle(t, c, data, newFake(data))
			if b.Stored() {
				t.Error("a changed file is taken for stored")
			}
			wantAll(t, b, data)
			fetch(t, b)
			if s := c.Stats(); s.Stored != int64(len(data)) || s.Files != 1 {
				t.Errorf("stats %+v", s)
			}
			b.Close()
		})
	}
}

// TestTouchedFileIsHashedAndKept: only the times changed.
func TestTouchedFileIsHashedAndKept(t *testing.T) {
	data, dir := bytesOf(9, 9<<20), filepath.Join(t.TempDir(), "cache")
	c := open(t, Config{Dir: dir})
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	b.Close()
	if err := os.Chtimes(storedFile(t, c, data), time.Now(), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	for i := range 2 {
		c = open(t, Config{Dir: dir})
		b = handle(t, c, data, nil)
		wantAll(t, b, data)
		if s := c.Stats(); s.Rechecks != int64(1-i) || s.Ranges != 0 {
			t.Errorf("open %d: stats %+v", i, s)
		}
		b.Close()
		shut(t, c)
	}
}

// TestFailureIsRememberedPerSource: for five seconds, for the source that
// failed, and for nobody else.
func TestFailureIsRememberedPerSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytesOf(10, 20<<20)
		denied := errors.New("denied")
		c, err := Open(Config{Dir: filepath.Join(t.TempDir(), "cache"), Size: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, c)
		bad, good := newFake(data), newFake(data)
		bad.fail = func(int64, int64) error { return denied }
		b, same, other := handle(t, c, data, bad), handle(t, c, data, bad), handle(t, c, data, good)
		read := func(b *Blob, off int64) error {
			_, err := b.ReadAt(context.Background(), make([]byte, 100), off)
			return err
		}
		if err := read(b, 5<<20); !errors.Is(err, denied) {
			t.Fatalf("got %v, want the source's error", err)
		}
		for _, b := range []*Blob{b, same} {
			if err := read(b, 9<<20); !errors.Is(err, denied) || bad.ranges.Load() != 1 {
				t.Errorf("got %v with %d requests, want the remembered error", err, bad.ranges.Load())
			}
		}
		if err := read(other, 5<<20); err != nil {
			t.Errorf("a handle with another source: %v", err)
		}
		if err := read(b, 5<<20); err != nil {
			t.Errorf("bytes that another source brought: %v", err)
		}
		time.Sleep(4900 * time.Millisecond)
		if err := read(b, 9<<20); !errors.Is(err, denied) || bad.ranges.Load() != 1 {
			t.Errorf("before 5 s: %v with %d requests", err, bad.ranges.Load())
		}
		time.Sleep(200 * time.Millisecond)
		bad.set(func() { bad.fail = nil })
		if err := read(b, 9<<20); err != nil {
			t.Errorf("after 5 s: %v", err)
		}
		for _, b := range []*Blob{b, same, other} {
			b.Close()
		}
	})
}

// TestCallersContextIsNotRemembered: leaving stops the waiting, not the work.
func TestCallersContextIsNotRemembered(t *testing.T) {
	data := bytesOf(11, 20<<20)
	src, gate := newFake(data), holdAt(0)
	src.gate = gate.wait
	c := open(t, Config{})
	b := handle(t, c, data, src)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.ReadAt(ctx, make([]byte, 100), 0)
		done <- err
	}()
	for src.ranges.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	gate.release(int64(len(data)))
	wantRead(t, b, data, 0, 100)
	if n := src.ranges.Load(); n != 1 {
		t.Errorf("%d requests, want the first one's bytes", n)
	}
}

// TestStalledSource: a source that never answers ends the wait, whether it
// minds its context or not.
func TestStalledSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytesOf(12, 20<<20)
		c, err := Open(Config{Dir: filepath.Join(t.TempDir(), "cache"), Size: 1 << 30, StallTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, c)
		src, gate := newFake(data), holdAt(0)
		src.gate = func(_ context.Context, at int64) error { return gate.wait(context.Background(), at) }
		b := handle(t, c, data, src)
		began := time.Now()
		if _, err := b.ReadAt(context.Background(), make([]byte, 100), 0); !errors.Is(err, ErrStalled) {
			t.Fatalf("got %v", err)
		}
		took := time.Since(began)
		if took < time.Minute || took > 70*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := b.ReadAt(context.Background(), make([]byte, 100), 0); !errors.Is(err, ErrStalled) || time.Since(began) != took {
			t.Errorf("the repeat: %v after %v", err, time.Since(began))
		}
		time.Sleep(6 * time.Second)
		gate.release(int64(len(data)))
		wantRead(t, b, data, 0, 100)
		b.Close()
	})
}

// TestSlowIsNotStalled: a chunk now and then is progress.
func TestSlowIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytesOf(13, 4<<20)
		c, err := Open(Config{Dir: filepath.Join(t.TempDir(), "cache"), Size: 1 << 30, StallTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, c)
		src := newFake(data)
		src.step = chunkSize
		src.gate = func(context.Context, int64) error { time.Sleep(40 * time.Second); return nil }
		b := handle(t, c, data, src)
		wantAll(t, b, data)
		b.Close()
	})
}

// TestChangedTellsOfWrittenBytes, and not of what backups do to a file.
func TestChangedTellsOfWrittenBytes(t *testing.T) {
	c := open(t, Config{})
	data := bytesOf(90, 100<<10)
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	if _, ok := b.File(); !ok || b.Changed() {
		t.Fatalf("stored: %v, changed: %v", ok, b.Changed())
	}
	path := storedFile(t, c, data)
	if err := os.Link(path, filepath.Join(t.TempDir(), "backup")); err != nil {
		t.Skip(err) // another file system
	}
	if b.Changed() {
		t.Error("another name for the file counts as a change")
	}
	dead := false
	b.OnDeath(func() { dead = true })
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if !b.Changed() || !dead {
		t.Errorf("cut: changed %v, told %v", b.Changed(), dead)
	}
	if _, err := b.ReadAt(t.Context(), make([]byte, 10), 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("reading on: %v", err)
	}
}
