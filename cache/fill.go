package cache

import "time"

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
		} else if err := f.keep(mem, gap, buf, lo, hi); err != nil {
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
	for f.allowance < n { // while one asks, others may use what there is
		if asked := f.asking; asked != nil {
			f.mu.Unlock()
			<-asked
			f.mu.Lock()
		} else if !f.ask(n-f.allowance, bulk) {
			return false
		}
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
