package cache

import "math/bits"

// chunkSize is the grain in which a download is handed out, recorded and
// resumed: a reader waits for at most this much more than it asked for, and a
// set for a blob of 10 GiB takes 20 KiB.
const chunkSize = 64 << 10

// chunks is a set of chunks of one blob, numbered from 0 to n-1.
//
// Invariants, checked by check: no bit at n or above is set, and count is the
// number of bits set.
type chunks struct {
	n     int
	count int
	words []uint64
}

func newChunks(size int64) chunks {
	n := int((size + chunkSize - 1) / chunkSize)
	return chunks{n: n, words: make([]uint64, (n+63)/64)}
}

// chunkOf is the chunk that holds the byte at off.
func chunkOf(off int64) int { return int(off / chunkSize) }

// chunkEnd is the first chunk that holds no byte below end.
func chunkEnd(end int64) int { return int((end + chunkSize - 1) / chunkSize) }

func (c *chunks) has(i int) bool { return c.words[i/64]&(1<<(i%64)) != 0 }

func (c *chunks) full() bool { return c.count == c.n }

// all reports whether every chunk of [lo, hi) is in the set.
func (c *chunks) all(lo, hi int) bool { return c.gap(lo) >= hi }

// add puts [lo, hi) into the set and returns how many were new.
func (c *chunks) add(lo, hi int) int {
	before := c.count
	for lo < hi {
		w, mask, next := wordMask(lo, hi)
		c.count += bits.OnesCount64(mask &^ c.words[w])
		c.words[w] |= mask
		lo = next
	}
	return c.count - before
}

// remove takes [lo, hi) out of the set.
func (c *chunks) remove(lo, hi int) {
	for lo < hi {
		w, mask, next := wordMask(lo, hi)
		c.count -= bits.OnesCount64(mask & c.words[w])
		c.words[w] &^= mask
		lo = next
	}
}

// next is the first chunk at or above i that is in the set, or n.
func (c *chunks) next(i int) int { return c.scan(i, 0) }

// gap is the first chunk at or above i that is not in the set, or n.
func (c *chunks) gap(i int) int { return c.scan(i, ^uint64(0)) }

// scan finds the first bit at or above i that differs from flip's.
func (c *chunks) scan(i int, flip uint64) int {
	for i < c.n {
		if w := (c.words[i/64] ^ flip) >> (i % 64); w != 0 {
			return min(i+bits.TrailingZeros64(w), c.n)
		}
		i = (i/64 + 1) * 64
	}
	return c.n
}

// wordMask is the part of [lo, hi) that lies in lo's word, and where the rest
// begins.
func wordMask(lo, hi int) (word int, mask uint64, next int) {
	word = lo / 64
	next = min(hi, (word+1)*64)
	mask = (^uint64(0) >> (64 - (next - lo))) << (lo % 64)
	return word, mask, next
}

// check returns what is wrong with the set, or "".
func (c *chunks) check() string {
	count := 0
	for i, w := range c.words {
		count += bits.OnesCount64(w)
		if i == len(c.words)-1 && c.n%64 != 0 && w>>(c.n%64) != 0 {
			return "a chunk beyond the end is set"
		}
	}
	if count != c.count {
		return "count is not the number of chunks"
	}
	return ""
}
