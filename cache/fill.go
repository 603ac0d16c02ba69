package cache

import (
	"context"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// piece is a part of a buffer that waits to be hashed.
type piece struct {
	buf      *buffer
	from, to int
}

// lead is how far read-ahead runs ahead of the hash. Beyond it the hash is what
// everybody waits for in the end, and its processor better not be busy with
// bytes that it will have to read back.
const lead = 32 << 20

// awaitHash holds up read-ahead that has run too far ahead of the hash until
// that has caught up by half; f.mu is held when it is called and when it returns.
func (f *flight) awaitHash(s *stream) {
	if !f.hashing || f.unhashed() < lead {
		return
	}
	for f.hashing && f.unhashed() > lead/2 && s.ctx.Err() == nil {
		if f.caughtUp == nil {
			f.caughtUp = make(chan struct{})
		}
		caughtUp := f.caughtUp
		f.mu.Unlock()
		select {
		case <-caughtUp:
		case <-s.ctx.Done():
		}
		f.mu.Lock()
	}
}

// unhashed is how much of what is there the hash can go on with; f.mu is held.
func (f *flight) unhashed() int64 {
	return int64(f.have.gap(chunkOf(f.hashed)))*chunkSize - f.hashed
}

// hashedMore lets the streams go on that wait for the hash; f.mu is held.
func (f *flight) hashedMore() {
	if f.caughtUp != nil && (!f.hashing || f.unhashed() <= lead/2) {
		close(f.caughtUp)
		f.caughtUp = nil
	}
}

// take writes what came into buf up to upto, hands it out and passes it on to
// the hash. It reports whether the stream should go on.
func (f *flight) take(s *stream, buf *buffer, upto int) (more bool, err error) {
	off, end := buf.base+int64(buf.taken), buf.base+int64(upto)
	f.c.counters.fetched.Add(end - off)
	f.mu.Lock()
	if !f.fetching() || f.writing.n == 0 {
		f.mu.Unlock()
		return false, nil
	}
	gaps := f.claim(span{chunkOf(off), chunkEnd(end)})
	mem := f.mem
	f.mu.Unlock()

	for _, gap := range gaps {
		lo, hi := int64(gap.lo)*chunkSize, min(int64(gap.hi)*chunkSize, end)
		p := buf.data[lo-buf.base : hi-buf.base]
		if mem == nil && !f.write(p, lo, gap, s.bulk) {
			mem = f.loseDisk()
		}
		if mem == nil {
			f.arrived(gap, buf, lo, hi)
		} else if err := f.keep(gap, buf, lo, hi); err != nil {
			return false, err
		}
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	buf.taken = upto
	s.pos = end
	grown := s.bulk && f.tuner.add(time.Now(), end-off)
	f.wake()
	f.hash()
	if grown || s.end-s.pos <= s.asked/4 {
		f.schedule()
	}
	return s.pos < s.end, nil
}

// claim marks the chunks of a range that nobody has written or is writing;
// f.mu is held.
func (f *flight) claim(r span) (gaps []span) {
	for lo := r.lo; lo < r.hi; {
		if f.have.has(lo) || f.writing.has(lo) {
			lo++
			continue
		}
		hi := lo + 1
		for hi < r.hi && !f.have.has(hi) && !f.writing.has(hi) {
			hi++
		}
		f.writing.add(lo, hi)
		gaps = append(gaps, span{lo, hi})
		lo = hi
	}
	return gaps
}

// write puts claimed chunks on the disk and reports whether it could.
func (f *flight) write(p []byte, off int64, gap span, bulk bool) bool {
	if !f.reserve(int64(gap.hi-gap.lo)*chunkSize, bulk) {
		f.c.warnDiskless("the cache is full of files in use", f, nil)
		return false
	}
	_, err := f.part.file.WriteAt(p, off)
	if err == nil {
		err = f.part.wrote(gap.lo, gap.hi)
	}
	if err != nil {
		f.c.warnDiskless("the disk of the cache cannot be written", f, err)
	}
	return err == nil
}

// reserveStep is how much a sequential download reserves at once, so that the
// ledger is not asked for every write.
const reserveStep = 4 << 20

// reserve counts n bytes that are about to be written. Never more than the
// whole blob is reserved for it: streams ask one after another, as one that
// asks for more than it needs may be covering the next.
func (f *flight) reserve(n int64, bulk bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.allowance < n && f.asking != nil {
		asked := f.asking
		f.mu.Unlock()
		<-asked
		f.mu.Lock()
	}
	need := max(0, n-f.allowance)
	if need > 0 && !f.ask(need, bulk) {
		return false
	}
	f.allowance -= n
	return true
}

// ask raises the allowance by need bytes, and in bulk by some more if there is
// room; f.mu is held when it is called and when it returns.
func (f *flight) ask(need int64, bulk bool) bool {
	got := need
	if bulk {
		left := int64(f.have.n)*chunkSize - f.reserved
		got = max(need, min(reserveStep, left, f.c.ledger.limit/64))
	}
	done := make(chan struct{})
	f.asking = done
	f.mu.Unlock()
	ok := f.c.makeRoom(got)
	if !ok && got > need {
		got = need
		ok = f.c.makeRoom(got)
	}
	f.mu.Lock()
	f.asking = nil
	close(done)
	if ok {
		f.reserved += got
		f.allowance += got
	}
	return ok
}

// arrived hands out chunks that are on the disk now. Bytes that are next for
// the hash go there from the buffer; others are read back when it gets there.
func (f *flight) arrived(gap span, buf *buffer, lo, hi int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing.remove(gap.lo, gap.hi)
	f.have.add(gap.lo, gap.hi)
	f.enqueue(buf, lo, hi)
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
				// A chunk without a disk was dropped just now.
				f.mu.Lock()
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

// unreadable ends a download whose own file cannot be read back.
func (f *flight) unreadable(err error) {
	f.mu.Lock()
	f.hashing = false
	f.hashedMore()
	closing := f.ctx.Err() != nil
	f.mu.Unlock()
	if !closing {
		f.die(fmt.Errorf("%w: the partial download cannot be read: %w", ErrCorrupt, err))
	}
}

// sum is the digest that a hasher came to.
func sum(like digest.Digest, hasher hash.Hash) digest.Digest {
	return digest.NewDigest(like.Algorithm(), hasher)
}

// verify compares the digest of the whole blob, and stores it.
func (f *flight) verify() {
	if got := sum(f.digest, f.hasher); got != f.digest {
		if !f.startAfresh() {
			f.die(fmt.Errorf("%w: the digest of the %d bytes is %s", ErrCorrupt, f.size, got))
		}
		return
	}
	f.c.counters.downloads.Add(1)
	var file *os.File
	if part := f.onDisk(); part != nil {
		var err error
		// A descriptor that cannot write, for those who read and map it.
		if file, err = os.Open(part.file.Name()); err == nil && !samePath(part.file, part.file.Name()) {
			file.Close()
			file, err = nil, os.ErrNotExist
		}
		if err != nil {
			f.c.warnDiskless("the finished download is gone from the disk", f, err)
		}
	}
	f.mu.Lock()
	if f.phase != phaseFilling {
		f.mu.Unlock()
		if file != nil {
			file.Close()
		}
		return
	}
	f.phase = phaseWhole
	f.inStore = file == nil
	f.stored.Store(file)
	f.wake()
	f.schedule() // without a disk some of it has to come again
	f.mu.Unlock()
	if file != nil {
		f.store()
	}
}

// onDisk is the partial file if all of the blob is in it.
func (f *flight) onDisk() *partial {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem != nil {
		return nil
	}
	return f.part
}

// startAfresh forgets a download that went on with bytes of an earlier run,
// when nobody has seen any of them. It reports whether it did.
func (f *flight) startAfresh() bool {
	f.mu.Lock()
	if !f.resumed || f.served || f.phase != phaseFilling || f.part == nil {
		f.mu.Unlock()
		return false
	}
	part, reserved := f.part, f.reserved
	f.part, f.reserved, f.allowance = nil, 0, 0
	f.phase, f.mem, f.hashing = phaseOpening, nil, false
	f.have, f.writing, f.resumed = chunks{}, chunks{}, false
	f.cancel()
	for _, s := range f.streams {
		s.end = s.pos
	}
	f.dropQueue()
	f.mu.Unlock()
	f.c.log.Warn("resumed download did not match and begins afresh", "digest", f.digest.String())
	part.remove()
	part.close()
	f.c.ledger.disown(part.key, reserved)
	f.mu.Lock()
	f.ctx, f.cancel = context.WithCancel(f.c.ctx)
	f.mu.Unlock()
	f.openPartial()
	return true
}

// store moves the verified file into the store. Readers do not wait for it:
// they have its descriptor already.
func (f *flight) store() {
	c := f.c
	part := f.part
	err := unix.Fdatasync(int(part.file.Fd()))
	if err == nil {
		// The record before the file: a crash between the two must not leave a
		// file that does not count.
		f.mu.Lock()
		reserved := f.reserved
		f.reserved, f.allowance = 0, 0
		f.mu.Unlock()
		c.ledger.move(f.digest, reserved)
		now := time.Now().UnixMilli()
		c.index.add(record{op: '+', digest: f.digest, size: f.size, used: now})
		pinned := c.ledger.pin(f.digest)
		var print fingerprint
		if print, err = c.disk.store(part.file, f.digest); err == nil {
			part.moved()
			if f.size > smallBlob {
				// Worth a moment that a power cut does not take its name.
				err = syncDir(filepath.Dir(c.disk.blob(f.digest)))
			}
			c.index.add(record{op: '+', digest: f.digest, size: f.size, print: print, used: now})
			c.healthy()
		} else {
			c.index.add(record{op: '-', digest: f.digest})
		}
		f.mu.Lock()
		f.pinned = pinned
		f.mu.Unlock()
	}
	if err != nil {
		c.warnDiskless("a finished download cannot be stored", f, err)
	}
	f.mu.Lock()
	f.inStore, f.part = true, nil
	reserved := f.reserved // when it failed: the file goes with its descriptors
	f.reserved, f.allowance = 0, 0
	f.wake()
	f.mu.Unlock()
	if err != nil {
		part.remove()
	}
	c.ledger.disown(part.key, reserved)
	part.close()
}
