package cache

import (
	"errors"
	"fmt"
)

// piece is a part of a buffer that waits to be hashed.
type piece struct {
	buf      *buffer
	from, to int
}

// enqueue gives a buffer's bytes to the hash if they are next; f.mu is held.
func (f *flight) enqueue(buf *buffer, lo, hi int64) {
	if lo == f.hashEnd && f.phase == phaseFilling {
		buf.users.Add(1)
		f.queue = append(f.queue, piece{buf, int(lo - buf.base), int(hi - buf.base)})
		f.hashEnd = hi
	}
}

// dropQueue gives back what waits to be hashed; f.mu is held.
func (f *flight) dropQueue() {
	for _, p := range f.queue {
		p.buf.release()
	}
	f.queue = nil
}

// hash starts the goroutine that hashes, if it has something to do; f.mu is
// held.
func (f *flight) hash() {
	if !f.hashing && f.phase == phaseFilling && (f.hashable() || f.hashed == f.size) {
		f.hashing = f.work(f.hashAll)
	}
}

// hashable reports whether the next bytes can be hashed. What has to be read
// back is left alone as long as nobody wants the whole blob; f.mu is held.
func (f *flight) hashable() bool {
	if len(f.queue) > 0 {
		return true
	}
	if f.hashEnd >= f.size || !f.have.has(chunkOf(f.hashEnd)) || f.ctx.Err() != nil {
		return false
	}
	if f.have.full() || !f.idle && f.window.everything {
		return true
	}
	for _, d := range f.demands {
		if d.whole {
			return true
		}
	}
	return false
}

// hashAll hashes what is there, in order, until it comes to a gap.
func (f *flight) hashAll() {
	var own []byte
	for {
		f.mu.Lock()
		if f.phase != phaseFilling || !f.hashable() {
			done := f.phase == phaseFilling && f.hashed == f.size
			f.hashing = done // nobody else does it again
			f.hashedMore()
			f.mu.Unlock()
			if done {
				f.verify()
			}
			return
		}
		var next piece
		var lo, hi int64
		if len(f.queue) > 0 {
			next, f.queue = f.queue[0], f.queue[1:]
		} else {
			lo = f.hashEnd
			gap := f.have.gap(chunkOf(lo))
			hi = min(int64(gap)*chunkSize, lo+bufferSize, f.size)
			f.hashEnd = hi
		}
		hasher := f.hasher
		f.mu.Unlock()

		var n int
		if next.buf != nil {
			n, _ = hasher.Write(next.buf.data[next.from:next.to])
			next.buf.release()
		} else {
			if own == nil {
				own = make([]byte, bufferSize)
			}
			got, err := f.read(own[:hi-lo], lo)
			if err != nil {
				f.unreadable(err)
				return
			}
			n, _ = hasher.Write(own[:got])
			if int64(got) < hi-lo {
				// A chunk without a disk was dropped just now. What was queued
				// to come after it is not next any more.
				f.mu.Lock()
				f.dropQueue()
				f.hashEnd = lo + int64(got)
				f.mu.Unlock()
			}
		}
		f.mu.Lock()
		f.hashed += int64(n)
		f.hashedMore()
		f.mu.Unlock()
	}
}

// errUnreadable, beside ErrCorrupt, is not the fault of what came.
var errUnreadable = errors.New("the partial download cannot be read")

// unreadable ends a download whose own file cannot be read back. Bytes that were
// served from it have no checksum that those of another try could be held to.
func (f *flight) unreadable(err error) {
	f.mu.Lock()
	f.hashing = false
	f.hashedMore()
	closing := f.ctx.Err() != nil
	f.mu.Unlock()
	if !closing {
		f.die(fmt.Errorf("%w: %w: %w", ErrCorrupt, errUnreadable, err))
	}
}
