package cache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// onDisk is what a cache directory really takes.
func onDisk(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	for _, sub := range []string{"blobs", "partial", "tmp"} {
		filepath.WalkDir(filepath.Join(dir, sub), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				if info, err := e.Info(); err == nil {
					sum += min(info.Sys().(*syscall.Stat_t).Blocks*512, info.Size()+pageSize)
				}
			}
			return nil
		})
	}
	return sum
}

// TestLimitHoldsAtEveryMoment looks at the disk after every piece.
func TestLimitHoldsAtEveryMoment(t *testing.T) {
	const limit = 48 << 20
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, Config{Dir: dir, Size: limit})
	for i := range 6 {
		data := bytesOf(byte(50+i), 10<<20+i)
		b := handle(t, c, data, newFake(data))
		for off := 0; off < len(data); off += 1 << 20 {
			wantRead(t, b, data, off, 1<<20)
			if used := onDisk(t, dir); used > limit+maxRange/16 {
				t.Fatalf("%d bytes on disk, limit %d", used, limit)
			}
		}
		fetch(t, b)
		b.Close()
		settle(t, c)
		verify(t, c)
		if s := c.Stats(); s.Stored+s.Partial+s.Evicted > limit {
			t.Fatalf("stats %+v", s)
		}
	}
	if s := c.Stats(); s.Files != 4 || s.Evictions != 2 || s.Diskless != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestLeastRecentlyUsedGoesFirst, also when the use was before a restart.
func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	blobs := make([][]byte, 4)
	c := open(t, Config{Dir: dir, Size: 40 << 20})
	for i := range blobs {
		blobs[i] = bytesOf(byte(60+i), 10<<20)
	}
	for _, data := range blobs[:3] {
		b := handle(t, c, data, newFake(data))
		fetch(t, b)
		b.Close()
		settle(t, c)
	}
	// Used again, longer ago than uses are kept out of the index.
	c.ledger.mu.Lock()
	for _, it := range c.ledger.items {
		it.used -= 2 * touchEvery.Milliseconds()
	}
	c.ledger.mu.Unlock()
	b := handle(t, c, blobs[0], nil)
	wantAll(t, b, blobs[0])
	b.Close()
	settle(t, c)
	shut(t, c)

	c = open(t, Config{Dir: dir, Size: 30 << 20})
	b = handle(t, c, blobs[3], newFake(blobs[3]))
	fetch(t, b)
	for i, want := range []bool{true, false, true, true} {
		b := handle(t, c, blobs[i], nil)
		if got := b.Stored(); got != want {
			t.Errorf("blob %d is stored: %v, want %v", i, got, want)
		}
	}
}

// TestPartialsCountAndAreEvicted when nobody has them open.
func TestPartialsCountAndAreEvicted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, Config{Dir: dir, Size: 30 << 20})
	first := bytesOf(65, 20<<20)
	src := newFake(first)
	gate := holdAt(12 << 20)
	src.gate = gate.wait
	b := handle(t, c, first, src)
	wantRead(t, b, first, 0, 8<<20)
	if s := c.Stats(); s.Partial < 8<<20 {
		t.Errorf("stats %+v", s)
	}
	b.Close()
	gate.release(64 << 20)
	settle(t, c)
	if s := c.Stats(); s.Partial < 8<<20 || s.Partial > 13<<20 {
		t.Errorf("parked: stats %+v", s)
	}
	second := bytesOf(66, 28<<20)
	b = handle(t, c, second, newFake(second))
	wantAll(t, b, second)
	fetch(t, b)
	if s := c.Stats(); s.Partial != 0 || s.Stored != int64(len(second)) || s.Evictions != 1 {
		t.Errorf("stats %+v", s)
	}
	if names := listNames(filepath.Join(dir, "partial")); len(names) > 0 {
		t.Errorf("partials left: %v", names)
	}
}

// TestParkedPartialCountsWhatItTakes: what a download that lost the disk had in
// memory is no part of it.
func TestParkedPartialCountsWhatItTakes(t *testing.T) {
	const limit = 30 << 20
	c := open(t, Config{Size: limit})
	use := bytesOf(76, 18<<20)
	fetch(t, handle(t, c, use, newFake(use)))
	data := bytesOf(77, limit)
	src := newFake(data)
	gate := holdAt(24 << 20)
	src.gate = gate.wait
	b := handle(t, c, data, src)
	wantRead(t, b, data, 0, 24<<20)
	b.Close()
	gate.release(limit)
	until(t, func() bool { return b.f.phase == phaseNew && len(b.f.streams) == 0 }, b.f)
	s, onDisk := c.Stats(), c.disk.allocated(func(string) int64 { return 0 })
	if s.Partial > onDisk || s.Stored+s.Partial > limit {
		t.Errorf("%+v; on the disk are %d bytes of partials", s, onDisk)
	}
}

// TestReadingWithoutTheDisk: a blob larger than the cache, and one beside
// which everything is in use, are read as any other, and nothing grows.
func TestReadingWithoutTheDisk(t *testing.T) {
	for _, size := range []int{3 << 20, 3 * memoryBytes / 2} {
		for _, verifyWhen := range []Verify{VerifyStream, VerifyStrict} {
			var log logged
			c := open(t, Config{Size: 2 << 20, Logger: log.logger(), Verify: verifyWhen})
			data := bytesOf(70, size)
			src := newFake(data)
			b := handle(t, c, data, src)
			rng := rand.New(rand.NewPCG(1, 1))
			for range 20 {
				wantRead(t, b, data, rng.IntN(size-10000), 5000)
			}
			wantAll(t, b, data)
			fetch(t, b)
			wantAll(t, b, data)
			wantRead(t, b, data, 0, size)
			b.f.mu.Lock()
			held := len(b.f.mem.chunks)
			b.f.mu.Unlock()
			if held*chunkSize > memoryBytes+maxPiece {
				t.Errorf("size %d: %d chunks in memory", size, held)
			}
			if b.Stored() || log.count("level=WARN") != 1 {
				t.Errorf("size %d: stored %v, log %s", size, b.Stored(), &log.lines)
			}
			if _, ok := b.File(); ok {
				t.Errorf("size %d: there is a file", size)
			}
			verify(t, c)
			b.Close()
		}
	}
}

// TestReadingOnWithoutTheDiskTransfersOnce, also where the bytes come faster than
// they can be hashed.
func TestReadingOnWithoutTheDiskTransfersOnce(t *testing.T) {
	data := bytesOf(75, 3*memoryBytes)
	for name, read := range map[string]func(b *Blob){
		"from end to end": func(b *Blob) { wantAll(t, b, data) },
		"the end first":   func(b *Blob) { wantRead(t, b, data, len(data)-100, 100) },
		"verified":        func(b *Blob) { fetch(t, b) },
	} {
		c := open(t, Config{Size: 2 << 20})
		read(handle(t, c, data, newFake(data)))
		// What is read out of order may come with a little more than once.
		if got, most := c.Stats().Fetched, int64(len(data)+len(data)/50); got > most {
			t.Errorf("%s: %d bytes came of a blob of %d", name, got, len(data))
		}
	}
}

// TestManyBlobsWithoutTheDiskShareTheMemory, of which each has a little in any case.
func TestManyBlobsWithoutTheDiskShareTheMemory(t *testing.T) {
	c := open(t, Config{Size: 2 << 20})
	c.memory.most = 16 << 20
	const size, readers = 24 << 20, 4
	var reads sync.WaitGroup
	blobs := make([]*Blob, readers)
	for i := range blobs {
		data := bytesOf(byte(80+i), size)
		blobs[i] = handle(t, c, data, newFake(data))
		reads.Go(func() { wantAll(t, blobs[i], data) })
	}
	reads.Wait()
	held := int64(0)
	for _, b := range blobs {
		b.f.mu.Lock()
		held += int64(len(b.f.mem.order)+len(b.f.mem.unused)) * chunkSize
		b.f.mu.Unlock()
	}
	if used, most := c.memory.used.Load(), c.memory.most+readers*(leastMemory+maxPiece); held > most || held != used {
		t.Errorf("%d bytes of %d blobs are in memory, %d by the books; want at most %d", held, readers, used, most)
	}
	for _, b := range blobs {
		b.Close()
	}
	settle(t, c)
	if used := c.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes count as being in memory when all are closed", used)
	}
}

// TestWithoutTheDiskBytesAreChecked: what comes a second time is what came the
// first time, and the whole has the digest, or the blob is dead.
func TestWithoutTheDiskBytesAreChecked(t *testing.T) {
	data := bytesOf(71, 2*memoryBytes)
	for name, corrupt := range map[string]func(src *fake){
		"wrong once, right later": func(src *fake) {
			wrong := bytes.Clone(data)
			wrong[1<<20] ^= 1
			src.data = wrong
		},
		"right once, wrong later": func(src *fake) {},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Config{Size: 2 << 20})
			src := newFake(bytes.Clone(data))
			b := handle(t, c, data, &swapped{first: src, then: newFake(data)})
			if name == "wrong once, right later" {
				corrupt(src)
				p := make([]byte, 10)
				if _, err := b.ReadAt(context.Background(), p, 1<<20); err != nil {
					t.Fatal(err)
				}
				b.src.Source.(*swapped).swap.Store(true)
				if err := b.Fetch(context.Background()); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("the bytes that were served are wrong: %v", err)
				}
				return
			}
			fetch(t, b) // verified, and mostly dropped
			wrong := bytes.Clone(data)
			wrong[1<<20] ^= 1
			b.src.Source.(*swapped).then = newFake(wrong)
			b.src.Source.(*swapped).swap.Store(true)
			if _, err := readAll(b, len(data), 128<<10); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("wrong bytes after the digest matched: %v", err)
			}
		})
	}
}

// TestDiskFullInTheMiddle takes the disk away while a blob is read.
func TestDiskFullInTheMiddle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	var log logged
	c := open(t, Config{Dir: dir, Size: 30 << 20, Logger: log.logger()})
	// Everything but 12 MiB is in use.
	use := bytesOf(72, 18<<20)
	pin := handle(t, c, use, newFake(use))
	fetch(t, pin)
	data := bytesOf(73, 26<<20)
	b := handle(t, c, data, newFake(data))
	wantAll(t, b, data)
	fetch(t, b)
	wantAll(t, b, data)
	small := bytesOf(74, 1<<20)
	if err := c.Put(digest.FromBytes(small), small); err != nil {
		t.Errorf("put on a full disk: %v", err)
	}
	if b.Stored() || log.count("level=WARN") != 1 {
		t.Errorf("stored %v, log %s", b.Stored(), &log.lines)
	}
	wantAll(t, pin, use)
	b.Close()
	pin.Close()
	settle(t, c)
	// With room again the next download is stored.
	b = handle(t, c, data, newFake(data))
	wantAll(t, b, data)
	fetch(t, b)
	if !b.Stored() {
		t.Errorf("stats %+v", c.Stats())
	}
}

// TestWriteErrorInTheMiddle: the file takes no more bytes.
func TestWriteErrorInTheMiddle(t *testing.T) {
	for _, size := range []int{6 << 20, 30 << 20} {
		var log logged
		c := open(t, Config{Logger: log.logger()})
		data := bytesOf(75, size)
		src, gate := newFake(data), holdAt(int64(size/2))
		src.step, src.gate = chunkSize, gate.wait
		b := handle(t, c, data, src)
		done := pending(b, 0, size)
		for src.given.Load() < int64(size/2) {
			time.Sleep(time.Millisecond)
		}
		b.f.mu.Lock()
		file := b.f.part.file
		b.f.mu.Unlock()
		readOnly, err := os.Open(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		// From now on writing to it is EBADF.
		if err := unix.Dup3(int(readOnly.Fd()), int(file.Fd()), 0); err != nil {
			t.Fatal(err)
		}
		readOnly.Close()
		gate.release(int64(size))
		if err := <-done; err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		wantAll(t, b, data)
		if b.Stored() || log.count("level=WARN") != 1 {
			t.Errorf("size %d: stored %v, log %s", size, b.Stored(), &log.lines)
		}
		b.Close()
		settle(t, c)
	}
}

// TestFileStoredAgainStaysListed: who removed it records that after someone
// else has stored it again. Nobody would ever evict a file that is not listed.
func TestFileStoredAgainStaysListed(t *testing.T) {
	c := open(t, Config{})
	kept, gone := bytesOf(76, 1000), bytesOf(77, 2000)
	for _, data := range [][]byte{kept, gone} {
		if err := c.Put(digest.FromBytes(data), data); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(storedFile(t, c, gone))
	c.unlist(digest.FromBytes(kept), digest.FromBytes(gone))
	if s := c.Stats(); s.Files != 1 || s.Stored != int64(len(kept)) {
		t.Errorf("stats %+v", s)
	}
}

// TestPutIsListedBeforeItsFileIsThere, so that a process that is killed between
// the two leaves no file that does not count.
func TestPutIsListedBeforeItsFileIsThere(t *testing.T) {
	c := open(t, Config{})
	data := bytesOf(78, 1000)
	d := digest.FromBytes(data)
	// The store does not take the file: what is recorded was recorded before.
	shard := filepath.Dir(c.disk.blob(d))
	if err := errors.Join(os.MkdirAll(filepath.Dir(shard), 0o700), os.WriteFile(shard, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(d, data); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.disk.index())
	listed, unlisted := bytes.Index(text, []byte("+ "+d)), bytes.Index(text, []byte("- "+d))
	if err != nil || listed < 0 || unlisted < listed {
		t.Errorf("the index says %q, %v", text, err)
	}
	if s := c.Stats(); s.Files != 0 || s.Stored != 0 || s.Partial != 0 {
		t.Errorf("nothing was stored: stats %+v", s)
	}
	if err := os.Remove(shard); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(d, data); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Files != 1 || s.Stored != int64(len(data)) || s.Partial != 0 {
		t.Errorf("stored: stats %+v", s)
	}
}

// TestFileEvictedWhileItIsOpenedCounts until it is closed: between the look into
// the index and the pin.
func TestFileEvictedWhileItIsOpenedCounts(t *testing.T) {
	c := open(t, Config{})
	data := bytesOf(79, 1<<20)
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	b.Close()
	settle(t, c)
	b = handle(t, c, data, nil)
	path := storedFile(t, c, data)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	c.unlist(digest.FromBytes(data))
	b.f.adopt(file, int64(len(data)))
	if s := c.Stats(); s.Evicted != int64(len(data)) || s.Stored != 0 {
		t.Errorf("open: stats %+v", s)
	}
	b.Close()
	if s := c.Stats(); s.Evicted != 0 {
		t.Errorf("closed: stats %+v", s)
	}
}

// TestReadErrorInTheMiddle: the file takes bytes and gives none back. That is an
// error, but nothing is said of wrong bytes, and the next handle begins afresh.
func TestReadErrorInTheMiddle(t *testing.T) {
	var log logged
	c := open(t, Config{Logger: log.logger()})
	data := bytesOf(80, 30<<20)
	b := handle(t, c, data, newFake(data))
	wantRead(t, b, data, 20<<20, 1000) // to be read back by the hash
	b.f.mu.Lock()
	file := b.f.part.file
	b.f.mu.Unlock()
	writeOnly, err := os.OpenFile(file.Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// From now on reading it is EBADF.
	if err := unix.Dup3(int(writeOnly.Fd()), int(file.Fd()), 0); err != nil {
		t.Fatal(err)
	}
	writeOnly.Close()
	if _, err := b.ReadAt(t.Context(), make([]byte, 1000), 20<<20); !errors.Is(err, unix.EBADF) {
		t.Errorf("a read: %v, want the disk's error", err)
	}
	if err := b.Fetch(t.Context()); !errors.Is(err, unix.EBADF) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("fetch: %v, want the disk's error and ErrCorrupt", err)
	}
	if n := c.Stats().Corruptions; n != 0 || log.count("corrupt") != 0 || log.count("level=ERROR") != 1 {
		t.Errorf("%d corruptions, log %s", n, &log.lines)
	}
	fresh := handle(t, c, data, newFake(data))
	fetch(t, fresh)
	if !fresh.Stored() {
		t.Error("the next download is not stored")
	}
}

// TestNoMoreThanTheBlobIsReserved, however many streams ask at once: another
// file would be evicted for nothing.
func TestNoMoreThanTheBlobIsReserved(t *testing.T) {
	data := bytesOf(67, 16<<20)
	for range 20 {
		c := open(t, Config{Size: 1 << 30})
		f := handle(t, c, data, newFake(data)).f
		f.mu.Lock()
		f.have = newChunks(f.size)
		f.mu.Unlock()
		var streams sync.WaitGroup
		for range 16 {
			streams.Go(func() {
				for range 16 {
					if !f.reserve(chunkSize, true) {
						t.Error("no room")
					}
				}
			})
		}
		streams.Wait()
		f.mu.Lock()
		reserved, counted := f.reserved, c.Stats().Partial
		f.mu.Unlock()
		if limit := int64(16*16) * chunkSize; reserved > int64(len(data)) || reserved < limit || counted != reserved {
			t.Fatalf("%d bytes reserved, %d counted, of a blob of %d", reserved, counted, len(data))
		}
	}
}
