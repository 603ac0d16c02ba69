package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// memory holds chunks of a blob for which there is no disk: it is full or
// broken, or the blob is larger than the cache. It is bounded, so chunks are
// dropped and fetched again; the seal of each is kept from the first time on,
// and a chunk that comes back different kills the blob. So the bytes that were
// served, the bytes that were hashed in order and the bytes that are served later
// are the same.
//
// Guarded by the flight's mu, but for seal.
type memory struct {
	chunks map[int][]byte
	order  []int    // oldest first
	unused [][]byte // of dropped chunks
	seals  map[int]seal
	sealer cipher.AEAD
	all    *memoryUse
}

// memoryUse is what all blobs together have in memory.
type memoryUse struct {
	most int64
	used atomic.Int64
}

func (u *memoryUse) up() bool { return u.used.Load() >= u.most }

// seal is a checksum that only this process can make: whoever sends the bytes
// cannot choose two chunks that have the same. It takes a tenth of the time of a
// digest.
type seal [16]byte

const (
	// memoryBytes bounds the chunks of one blob in memory. Half of it may be ahead
	// of the hash or of the reader.
	memoryBytes = 32 << 20
	// allMemory bounds those of all blobs. When it is used up each may still have
	// leastMemory, into which a blob fits that has to be verified before its first
	// byte.
	allMemory   = 256 << 20
	leastMemory = smallBlob
)

func newMemory(all *memoryUse) *memory {
	key := make([]byte, 16)
	rand.Read(key)
	block, _ := aes.NewCipher(key)    // fails for other lengths of keys only
	sealer, _ := cipher.NewGCM(block) // and this for other blocks
	return &memory{chunks: make(map[int][]byte), seals: make(map[int]seal), sealer: sealer, all: all}
}

func (m *memory) seal(chunk int, p []byte) (s seal) {
	var nonce [12]byte
	binary.LittleEndian.PutUint64(nonce[:], uint64(chunk))
	m.sealer.Seal(s[:0], nonce[:], nil, p)
	return s
}

// put keeps a copy of a chunk; the flight's mu is held.
func (m *memory) put(chunk int, p []byte) {
	var own []byte
	if last := len(m.unused) - 1; last >= 0 {
		own, m.unused = m.unused[last], m.unused[:last]
	} else {
		own = make([]byte, chunkSize)
		m.all.used.Add(chunkSize)
	}
	m.chunks[chunk] = own[:copy(own[:chunkSize], p)]
	m.order = append(m.order, chunk)
}

// drop forgets up to n chunks, oldest first, of those that may go, and returns
// how many it kept of n; the flight's mu is held.
func (m *memory) drop(n int, may func(chunk int) bool) (left int) {
	kept := m.order[:0]
	for _, chunk := range m.order {
		if n > 0 && may(chunk) {
			if m.all.up() {
				m.all.used.Add(-chunkSize)
			} else {
				m.unused = append(m.unused, m.chunks[chunk])
			}
			delete(m.chunks, chunk)
			n--
			continue
		}
		kept = append(kept, chunk)
	}
	m.order = kept
	return n
}

// leaveMemory drops what the flight has in memory; f.mu is held.
func (f *flight) leaveMemory() {
	if f.mem != nil {
		f.c.memory.used.Add(-int64(len(f.mem.order)+len(f.mem.unused)) * chunkSize)
		f.mem = nil
	}
}

// memoryShare is how many bytes this flight may have in memory.
func (f *flight) memoryShare() int64 {
	if f.c.memory.up() {
		return leastMemory
	}
	return memoryBytes
}

// loseDisk makes the rest of a download do without the disk. The chunks that
// are on it stay there and are read from it.
func (f *flight) loseDisk() *memory {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem == nil {
		f.mem = newMemory(&f.c.memory)
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
func (f *flight) keep(mem *memory, gap span, buf *buffer, lo, hi int64) error {
	seals := make([]seal, 0, gap.hi-gap.lo)
	pieces := make([][]byte, 0, gap.hi-gap.lo)
	for off := lo; off < hi; off += chunkSize {
		p := buf.data[off-buf.base : min(off+chunkSize, hi)-buf.base]
		pieces = append(pieces, p)
		seals = append(seals, mem.seal(gap.lo+len(seals), p))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem != mem {
		return nil // begun afresh meanwhile
	}
	f.writing.remove(gap.lo, gap.hi)
	for i, p := range pieces {
		chunk := gap.lo + i
		if old, ok := mem.seals[chunk]; ok && old != seals[i] {
			return fmt.Errorf("%w: the bytes at %d came twice and differ", ErrCorrupt, int64(chunk)*chunkSize)
		}
		mem.seals[chunk] = seals[i]
		mem.put(chunk, p)
		f.have.add(chunk, chunk+1)
	}
	f.enqueue(buf, lo, hi)
	f.wake()
	f.forget()
	return nil
}

// forget drops chunks beyond the bound, but none that a reader waits for: those
// that the hash and the latest reader have behind them, then the oldest; f.mu is
// held.
func (f *flight) forget() {
	over := len(f.mem.order) - int(f.memoryShare()/chunkSize)
	if over <= 0 {
		return
	}
	behind := chunkOf(min(f.hashed, f.window.lo))
	over = f.mem.drop(over, func(chunk int) bool { return chunk < behind && f.lose(chunk) })
	f.mem.drop(over, f.lose)
}

// lose takes a chunk for missing, unless it is wanted; f.mu is held.
func (f *flight) lose(chunk int) bool {
	if f.wanted(chunk) {
		return false
	}
	f.have.remove(chunk, chunk+1)
	return true
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
