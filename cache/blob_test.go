package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestReadColdThenWarmThenAfterRestart is the whole life of a blob.
func TestReadColdThenWarmThenAfterRestart(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 65536, 65537, smallBlob, smallBlob + 1, 20<<20 + 12345} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			data, src := bytesOf(1, size), (*fake)(nil)
			src = newFake(data)
			c := open(t, Config{Dir: dir})
			b := handle(t, c, data, src)
			wantAll(t, b, data)
			fetch(t, b)
			if got, want := src.given.Load(), int64(size); got != want {
				t.Errorf("the source gave %d bytes for a blob of %d", got, want)
			}
			file, ok := b.File()
			if !ok || !b.Stored() {
				t.Fatal("the blob is not stored after Fetch")
			}
			stored, err := io.ReadAll(io.NewSectionReader(file, 0, int64(size)+1))
			if err != nil || !bytes.Equal(stored, data) {
				t.Fatalf("the stored file has %d bytes, want %d", len(stored), size)
			}
			b.Close()
			shut(t, c)

			c = open(t, Config{Dir: dir})
			none := newFake(nil)
			b = handle(t, c, data, none)
			if !b.Stored() {
				t.Error("the blob is not stored after a restart")
			}
			wantAll(t, b, data)
			if s := c.Stats(); none.ranges.Load() != 0 || s.Hits != 1 || s.Rechecks != 0 {
				t.Errorf("after a restart: %d ranges, stats %+v", none.ranges.Load(), s)
			}
		})
	}
}

func TestReadAtIsReaderAt(t *testing.T) {
	data := bytesOf(2, 9<<20)
	c := open(t, Config{})
	for _, stored := range []bool{false, true} {
		b := handle(t, c, data, newFake(data))
		if stored {
			fetch(t, b)
		}
		for _, test := range []struct {
			off, n, want int
			err          error
		}{
			{0, 10, 10, nil},
			{len(data) - 10, 10, 10, nil},
			{len(data) - 10, 11, 10, io.EOF},
			{len(data), 1, 0, io.EOF},
			{len(data) + 100, 1, 0, io.EOF},
			{1 << 20, 5 << 20, 5 << 20, nil},
			{7, 0, 0, nil},
		} {
			p := make([]byte, test.n)
			n, err := b.ReadAt(context.Background(), p, int64(test.off))
			if stored && n == test.want && (err == nil || err == io.EOF) {
				err = test.err // at the exact end both are allowed
			}
			if n != test.want || err != test.err {
				t.Errorf("stored %v: ReadAt(%d bytes, %d) = %d, %v, want %d, %v", stored, test.n, test.off, n, err, test.want, test.err)
			}
			if n > 0 && !bytes.Equal(p[:n], data[test.off:test.off+n]) {
				t.Errorf("stored %v: ReadAt(%d bytes, %d) has wrong bytes", stored, test.n, test.off)
			}
		}
		if _, err := b.ReadAt(context.Background(), make([]byte, 1), -1); err == nil {
			t.Error("a negative offset is no error")
		}
		b.Close()
		if _, err := b.ReadAt(context.Background(), make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed handle answers %v", err)
		}
		if err := b.Fetch(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Fetch of a closed handle answers %v", err)
		}
		if _, ok := b.File(); ok || b.Stored() {
			t.Error("a closed handle has a file")
		}
	}
}

func TestOtherDigestAlgorithms(t *testing.T) {
	c := open(t, Config{})
	data := bytesOf(3, 9<<20)
	for _, a := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		b := c.Blob(a.FromBytes(data), int64(len(data)), newFake(data))
		wantAll(t, b, data)
		fetch(t, b)
		b.Close()
		wrong := c.Blob(a.FromBytes(data[1:]), int64(len(data)), newFake(data))
		if err := wrong.Fetch(context.Background()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: wrong bytes: %v", a, err)
		}
		wrong.Close()
	}
}

func TestInvalidDigestsAreCorruptAndTouchNothing(t *testing.T) {
	c := open(t, Config{})
	hex := digest.FromString("x").Encoded()
	for _, d := range []digest.Digest{"", "sha256:", "sha256:../../etc/passwd", "md5:abc", digest.Digest("sha256:" + hex[:63] + "/"), digest.Digest(hex), digest.Digest("sha256:" + hex + "0")} {
		src := newFake(nil)
		b := c.Blob(d, 10, src)
		if _, err := b.ReadAt(context.Background(), make([]byte, 1), 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: read: %v", d, err)
		}
		if b.Err() == nil || b.Stored() || src.ranges.Load() > 0 {
			t.Errorf("%q: err %v, stored %v, %d ranges", d, b.Err(), b.Stored(), src.ranges.Load())
		}
		b.Close()
		if _, err := c.Get(context.Background(), d, 10); !errors.Is(err, ErrNotCached) {
			t.Errorf("%q: get: %v", d, err)
		}
		if err := c.Put(d, []byte("x")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: put: %v", d, err)
		}
	}
	b := c.Blob(digest.FromString("x"), -1, newFake(nil))
	if b.Err() == nil {
		t.Error("a negative size is no error")
	}
	b.Close()
}

func TestGetAndPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, Config{Dir: dir})
	ctx, data := context.Background(), []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(data)
	if _, err := c.Get(ctx, d, 100); !errors.Is(err, ErrNotCached) {
		t.Fatalf("before Put: %v", err)
	}
	if err := c.Put(d, data[1:]); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("put of wrong bytes: %v", err)
	}
	if err := c.Put(d, data); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, d, int64(len(data)-1)); !errors.Is(err, ErrNotCached) {
		t.Errorf("above the limit: %v", err)
	}
	shut(t, c)
	c = open(t, Config{Dir: dir})
	if got, err := c.Get(ctx, d, 100); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("after a restart: %q, %v", got, err)
	}
	// The same content as a blob: hashed first, since Put does not sync.
	b := handle(t, c, data, newFake(nil))
	wantAll(t, b, data)
	if s := c.Stats(); s.Rechecks != 1 || s.Files != 1 || s.Stored != int64(len(data)) {
		t.Errorf("stats %+v", s)
	}
	b.Close()
	if err := os.WriteFile(storedFile(t, c, data), []byte(`{"schemaVersion":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, d, 100); !errors.Is(err, ErrNotCached) {
		t.Errorf("changed on disk: %v", err)
	}
}

// TestContentWhoseFileHasVanishedIsPutAgain: a Get finds out, and the next Put
// does not take it for stored.
func TestContentWhoseFileHasVanishedIsPutAgain(t *testing.T) {
	c := open(t, Config{})
	ctx, data := context.Background(), []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(data)
	if err := c.Put(d, data); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(storedFile(t, c, data)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, d, 100); !errors.Is(err, ErrNotCached) {
		t.Errorf("the file is gone: %v", err)
	}
	if err := c.Put(d, data); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, d, 100); err != nil || !bytes.Equal(got, data) {
		t.Errorf("put again: %q, %v", got, err)
	}
}
