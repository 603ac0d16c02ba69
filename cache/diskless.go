package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
)

// memory holds chunks of a blob for which there is no disk: it is full or
// broken, or the blob is larger than the cache. It is bounded, so chunks are
// dropped and fetched again; the checksum of each is kept from the first time
// on, and a chunk that comes back different kills the blob. So the bytes that
// were served, the bytes that were hashed in order and the bytes that are
// served later are the same.
//
// Guarded by the flight's mu.
type memory struct {
	chunks map[int][]byte
	order  []int // oldest first
	sums   map[int][sha256.Size]byte
}

// memoryBytes bounds the chunks of one blob in memory. A blob that has to be
// verified before its first byte fits twice.
const memoryBytes = 16 << 20

func newMemory() *memory {
	return &memory{chunks: make(map[int][]byte), sums: make(map[int][sha256.Size]byte)}
}

// loseDisk makes the rest of a download do without the disk. The chunks that
// are on it stay there and are read from it.
func (f *flight) loseDisk() *memory {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem == nil {
		f.mem = newMemory()
		for _, s := range f.streams {
			if s.bulk {
				// What runs far ahead would be dropped before it is read.
				s.end = min(s.end, s.pos+minRange)
			}
		}
	}
	return f.mem
}

// keep hands out claimed chunks that stay in memory.
func (f *flight) keep(gap span, buf *buffer, lo, hi int64) error {
	sums := make([][sha256.Size]byte, 0, gap.hi-gap.lo)
	for off := lo; off < hi; off += chunkSize {
		sums = append(sums, sha256.Sum256(buf.data[off-buf.base:min(off+chunkSize, hi)-buf.base]))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem == nil {
		return nil // begun afresh meanwhile
	}
	f.writing.remove(gap.lo, gap.hi)
	for i, sum := range sums {
		chunk := gap.lo + i
		if old, ok := f.mem.sums[chunk]; ok && old != sum {
			return fmt.Errorf("%w: the bytes at %d came twice and differ", ErrCorrupt, int64(chunk)*chunkSize)
		}
		f.mem.sums[chunk] = sum
		off := lo + int64(i)*chunkSize
		f.mem.chunks[chunk] = append([]byte(nil), buf.data[off-buf.base:min(off+chunkSize, hi)-buf.base]...)
		f.mem.order = append(f.mem.order, chunk)
		f.have.add(chunk, chunk+1)
	}
	f.enqueue(buf, lo, hi)
	f.wake()
	f.forget()
	return nil
}

// forget drops the oldest chunks beyond the bound, but none that a reader
// waits for; f.mu is held.
func (f *flight) forget() {
	over := len(f.mem.order) - memoryBytes/chunkSize
	if over <= 0 {
		return
	}
	kept := f.mem.order[:0]
	for _, chunk := range f.mem.order {
		if over > 0 && !f.wanted(chunk) {
			delete(f.mem.chunks, chunk)
			f.have.remove(chunk, chunk+1)
			over--
			continue
		}
		kept = append(kept, chunk)
	}
	f.mem.order = kept
}

// wanted reports whether a reader waits for a chunk, or has just been told
// that it is there; f.mu is held.
func (f *flight) wanted(chunk int) bool {
	for _, d := range f.demands {
		// Of a blob that fits, a reader of a withheld byte wants everything.
		if d.whole && f.size <= smallBlob || chunk >= chunkOf(d.lo) && chunk < chunkEnd(d.hi) && d.hi-d.lo <= memoryBytes {
			return true
		}
	}
	return false
}

// read reads bytes that are there, from memory and from the partial. It is
// short when a chunk has been dropped, and at a blob's death it fails.
func (f *flight) read(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	f.mu.Lock()
	if f.phase == phaseDead {
		f.mu.Unlock()
		return 0, f.err
	}
	if len(p) > 0 && f.have.n == 0 {
		defer f.mu.Unlock()
		if f.phase == phaseOpening {
			return 0, nil // begun afresh since it was said to be there
		}
		return 0, ErrClosed // parked
	}
	part, n := f.part, 0
	type hole struct{ from, to int }
	var disk []hole
	for at := off; at < end; at = off + int64(n) {
		chunk := chunkOf(at)
		if !f.have.has(chunk) {
			break
		}
		upto := min(int64(chunk+1)*chunkSize, end)
		if f.mem == nil {
			upto = end
		}
		to := n + int(upto-at)
		if f.mem != nil && f.mem.chunks[chunk] != nil {
			copy(p[n:to], f.mem.chunks[chunk][at-int64(chunk)*chunkSize:])
		} else {
			disk = append(disk, hole{n, to})
		}
		n = to
	}
	f.mu.Unlock()
	for _, h := range disk {
		if err := f.readDisk(part, p[h.from:h.to], off+int64(h.from)); err != nil {
			f.mu.Lock()
			afresh := f.part != part && (f.phase == phaseOpening || f.phase == phaseFilling)
			f.mu.Unlock()
			if afresh {
				return 0, nil
			}
			return 0, err
		}
	}
	if f.dead.Load() {
		f.mu.Lock()
		defer f.mu.Unlock()
		return 0, f.err // while we read
	}
	return n, nil
}

// readDisk reads chunks that are on the disk: in the partial, or in the file
// that it has become meanwhile. Of a partial that was parked it is ErrClosed.
func (f *flight) readDisk(part *partial, p []byte, off int64) error {
	err := ErrClosed
	if part != nil {
		_, err = part.file.ReadAt(p, off)
	}
	if file := f.stored.Load(); err != nil && file != nil {
		_, err = file.ReadAt(p, off)
	}
	if errors.Is(err, os.ErrClosed) {
		err = ErrClosed
	}
	return err
}
