package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHandlesOfOneBlobAreServedInOneWay(t *testing.T) {
	var m ioMode
	open := func(whole, want bool, what string) {
		t.Helper()
		got, keepPages := m.open(whole)
		if got != want {
			t.Errorf("%s: passthrough %v, want %v", what, got, want)
		}
		if !keepPages {
			t.Errorf("%s: the kernel's pages are thrown away", what)
		}
	}
	open(false, false, "a blob that is not whole yet")
	open(true, false, "whole by now, but another handle is cached")
	m.release(false, true)
	m.release(false, true)
	open(true, true, "whole, and no other handle")
	open(false, true, "evicted meanwhile, but another handle is passed through")
	m.release(true, true)
	open(false, true, "still one")
	m.release(true, true)
	m.release(true, true)
	open(false, false, "none left")
}

// TestPagesThatNobodyVerified may stay only as long as their download does.
func TestPagesThatNobodyVerified(t *testing.T) {
	var m ioMode
	open := func(want bool, what string) {
		t.Helper()
		if _, keepPages := m.open(false); keepPages != want {
			t.Errorf("%s: the pages are kept: %v, want %v", what, keepPages, want)
		}
	}
	open(true, "the first")
	m.doubt()
	open(true, "beside the one that read them")
	m.release(false, false)
	open(true, "beside another one of the same download")
	m.release(false, false)
	m.release(false, false)
	open(false, "after the last was closed")
	open(false, "while the kernel throws them away")
	m.dropped()
	open(true, "once they are gone")
	m.release(false, false)
	m.doubt()
	m.release(false, false)
	m.release(false, true)
	open(true, "after the download was verified")
}

func TestCachedBlobIsReadPastTheDaemon(t *testing.T) {
	w := mounted(t, Config{})
	if !w.m.Passthrough() {
		t.Skip("this kernel or user cannot pass files through")
	}
	path := w.path("models/tiny/_tags/latest/weights.bin")
	if matches, _ := filepath.Glob(w.path("models/tiny/_tags/latest/*.bin")); len(matches) > 0 {
		path = matches[0]
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := w.m.Stats().Reads
	second, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("second read differs, or failed: %v", err)
	}
	if reads := w.m.Stats().Reads - before; reads != 0 {
		t.Errorf("%d reads came to the daemon, want none", reads)
	}

	// Shared mappings and several handles at a time work as on any file.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, len(first), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	third, err := io.ReadAll(other)
	if err != nil || !bytes.Equal(mapped, third) {
		t.Errorf("mapping and a second handle differ, or failed: %v", err)
	}
}

func TestCachedFileChangedWhileOpenIsNotServedToOthers(t *testing.T) {
	w := mounted(t, Config{})
	path := w.path("models/tiny/_tags/latest/weights.bin")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	w.run(`f=$(find ` + w.m.tree.cache.Dir() + `/blobs -size +4000k -type f | head -1) && printf X | dd of="$f" bs=1 seek=1000 conv=notrunc status=none`)
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, good) {
		t.Errorf("after the change: err %v, equal %v", err, bytes.Equal(got, good))
	}
}

// TestBytesOfAChangedFileGoNoFurther: who has a blob open while somebody changes the
// cache's file, or cuts it, gets errors, and whoever comes then the right bytes and
// the right size.
func TestBytesOfAChangedFileGoNoFurther(t *testing.T) {
	for name, change := range map[string]string{
		"a byte": `printf X | dd of="$f" bs=1 seek=1000 conv=notrunc status=none`,
		"cut":    `truncate -s 4096 "$f"`,
	} {
		for _, read := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, and read: %v", name, read), func(t *testing.T) {
				w := mounted(t, Config{})
				w.m.tree.passthrough.Store(false) // as for everybody but root
				path := w.path("models/tiny/_tags/latest/weights.bin")
				good, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				holder, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer holder.Close()
				w.run(`f=$(find ` + w.m.tree.cache.Dir() + `/blobs -size +4000k -type f | head -1) && ` + change)
				if err := unix.Fadvise(int(holder.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
					t.Fatal(err)
				}
				if read {
					if _, err := holder.ReadAt(make([]byte, 4096), 0); !errors.Is(err, unix.EIO) {
						t.Errorf("reading the changed file: %v, want EIO", err)
					}
				}
				holder.Close()
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, good) {
					t.Errorf("afterwards: %v, %d bytes, equal %v", err, len(got), bytes.Equal(got, good))
				}
				if info, err := os.Stat(path); err != nil || info.Size() != int64(len(good)) {
					t.Errorf("size %d, %v", info.Size(), err)
				}
				if s := w.m.tree.cache.Stats(); s.Rechecks == 0 {
					t.Errorf("the cache did not notice: %+v", s)
				}
			})
		}
	}
}
