package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// stream is one running range: [pos, end) is still to come.
type stream struct {
	src    *origin
	ctx    context.Context
	cancel context.CancelFunc
	asked  int64 // bytes of the request
	opened time.Time

	// Guarded by the flight's mu.
	pos, end int64 // end moves down when another stream or a pause takes over
	bulk     bool  // read-ahead, counted by the tuner
}

func (s *stream) span() span { return span{chunkOf(s.pos), chunkEnd(s.end)} }

// covering lists the streams that will bring a chunk; f.mu is held.
func (f *flight) covering(chunk int) []*stream {
	var list []*stream
	for _, s := range f.streams {
		if r := s.span(); chunk >= r.lo && chunk < r.hi {
			list = append(list, s)
		}
	}
	return list
}

// abandon gives up the stream that was to bring a chunk and did not; f.mu is
// held.
func (f *flight) abandon(chunk int) {
	for _, s := range f.covering(f.have.gap(chunk)) {
		s.end = s.pos
		s.cancel()
	}
}

// look takes in where a reader is and what it will want; f.mu is held.
func (f *flight) look(d *demand, run int64) {
	bytes, everything := ahead(d.lo, d.hi-d.lo, run)
	d.ahead = min(d.lo+bytes, f.size)
	if d.run {
		f.window = window{d.src, d.lo, d.ahead, everything || f.window.everything}
	}
}

// refusal is the remembered error that answers a demand at once: its source
// failed a moment ago, and nobody else is bringing the bytes; f.mu is held.
func (f *flight) refusal(d *demand) error {
	if len(f.failures) == 0 {
		return nil
	}
	err := f.failed(d.src)
	if err == nil || !f.fetching() {
		return err
	}
	if d.whole && len(f.streams) > 0 || f.have.full() {
		return nil
	}
	if len(f.covering(f.have.gap(chunkOf(d.lo)))) > 0 {
		return nil
	}
	return err
}

// schedule starts the ranges that readers wait for, then those that they will
// want; f.mu is held.
func (f *flight) schedule() {
	if !f.fetching() || f.ctx.Err() != nil {
		return
	}
	whole, awaited := f.window.everything && f.mem == nil, false
	for _, d := range f.demands {
		switch {
		case d.over:
		case d.whole && f.phase == phaseFilling:
			whole, awaited = true, true
			f.window.src = d.src
		default:
			f.rush(d)
		}
	}
	if !f.idle && (f.window.src != nil) {
		f.readAhead(whole, awaited)
	}
}

// rush gets the first missing chunks of a waiting reader; f.mu is held.
func (f *flight) rush(d *demand) {
	lo, hi := chunkOf(d.lo), chunkEnd(d.hi)
	first := f.have.gap(lo)
	if first >= hi {
		return
	}
	far := int64(stealRandom)
	if d.run {
		far = stealSequential
	}
	if running := f.covering(first); len(running) > 0 {
		for _, s := range running {
			if int64(first)*chunkSize-s.pos <= far {
				return
			}
		}
		if len(f.streams) >= f.c.cfg.Streams {
			return
		}
		// It would come, but late. Take the rest of that range over.
		for _, s := range running {
			s.end = int64(first) * chunkSize
		}
	}
	if len(f.streams) >= f.c.cfg.Streams {
		return
	}
	// With what the reader wants next, so that one request does.
	if gap, ok := nextGap(&f.have, f.spans(), first, max(hi, chunkEnd(d.ahead))); ok {
		f.start(d.src, gap, false)
	}
}

// readAhead starts as many ranges as help; f.mu is held. awaited: someone waits
// for the whole blob, and it is by these ranges that it comes.
func (f *flight) readAhead(whole, awaited bool) {
	if !awaited && time.Now().Before(f.paused) || f.failed(f.window.src) != nil {
		return
	}
	for len(f.streams) < f.c.cfg.Streams && f.bulkStreams() < f.tuner.streams {
		gap, ok := f.nextAhead(whole)
		if !ok {
			return
		}
		size := f.tuner.rangeBytes(int64(f.have.n-f.have.count)*chunkSize, int64(f.have.count)*chunkSize)
		if f.mem != nil {
			size = min(size, memoryRange)
		}
		gap.hi = min(gap.hi, gap.lo+chunkEnd(size))
		f.start(f.window.src, gap, true)
	}
}

func (f *flight) nextAhead(whole bool) (span, bool) {
	spans := f.spans()
	lo, hi := chunkOf(f.window.lo), chunkEnd(f.window.hi)
	switch {
	case f.mem != nil && whole:
		// Without a disk nothing stays: the hash is what has to get on.
		lo = chunkOf(f.hashEnd)
		return nextGap(&f.have, spans, lo, min(lo+chunkOf(f.lead()), f.have.n))
	case f.mem != nil && f.window.everything:
		hi = max(hi, min(lo+chunkOf(f.lead()), f.have.n))
	case whole:
		if gap, ok := nextGap(&f.have, spans, lo, f.have.n); ok {
			return gap, ok
		}
		lo, hi = 0, f.have.n
	}
	return nextGap(&f.have, spans, lo, hi)
}

// bulkStreams counts the read-ahead, without the streams that are almost done:
// their successors should be on the way.
func (f *flight) bulkStreams() int {
	n := 0
	for _, s := range f.streams {
		if s.bulk && s.end-s.pos > s.asked/4 {
			n++
		}
	}
	return n
}

func (f *flight) spans() []span {
	spans := make([]span, len(f.streams))
	for i, s := range f.streams {
		spans[i] = s.span()
	}
	return spans
}

// start requests a gap; f.mu is held.
func (f *flight) start(src *origin, gap span, bulk bool) {
	off := int64(gap.lo) * chunkSize
	end := min(int64(gap.hi)*chunkSize, f.size)
	s := &stream{src: src, asked: end - off, pos: off, end: end, bulk: bulk, opened: time.Now()}
	s.ctx, s.cancel = context.WithCancel(f.ctx)
	f.streams = append(f.streams, s)
	f.c.counters.ranges.Add(1)
	f.work(func() { f.run(s) })
}

// run downloads one range.
func (f *flight) run(s *stream) {
	err := f.fetch(s)
	s.cancel()
	f.mu.Lock()
	f.streams = slices.DeleteFunc(f.streams, func(o *stream) bool { return o == s })
	switch {
	case !f.fetching() || f.ctx.Err() != nil:
		err = nil // nobody cares any more
	case err != nil && s.pos < s.end && !errors.Is(err, ErrCorrupt):
		f.streamFailed(s, err)
	}
	f.schedule()
	f.hash()
	f.mu.Unlock()
	if errors.Is(err, ErrCorrupt) {
		f.die(err)
	}
}

// streamFailed tells those who wait for the bytes that a source could not
// bring; f.mu is held.
func (f *flight) streamFailed(s *stream, err error) {
	f.c.counters.failures.Add(1)
	hit := false
	for _, d := range f.demands {
		wants := d.whole || d.lo < s.end && d.hi > s.pos
		if !d.over && wants && sameSource(d.src, s.src) {
			d.end(err)
			hit = true
		}
	}
	if hit {
		f.fail(s.src, err)
		return
	}
	// Read-ahead: whoever needs the bytes tries again and gets its own error.
	f.paused = time.Now().Add(time.Second)
	f.tuner.streams = max(1, f.tuner.streams/2)
}

// fetch reads the range of a stream.
func (f *flight) fetch(s *stream) error {
	base := s.pos
	body, err := s.src.OpenRange(s.ctx, base, s.asked)
	if err != nil {
		return err
	}
	defer body.Close()
	var buf *buffer
	defer func() { buf.release() }()
	var got int64 // bytes that came
	for idle := 0; got < s.asked; {
		if buf == nil || buf.filled == len(buf.data) {
			buf.release()
			buf = nil
			if buf, err = f.buffer(s, base+got); err != nil {
				return err
			}
		}
		room := buf.data[buf.filled:]
		n, err := body.Read(room[:min(int64(len(room)), s.asked-got)])
		if got == 0 && n > 0 {
			f.firstByte(s)
		}
		got += int64(n)
		buf.filled += n
		// Whole chunks as they come, the range's last bytes in any case.
		upto := buf.filled
		if got < s.asked {
			upto -= upto % chunkSize
		}
		if upto > buf.taken {
			more, err := f.take(s, buf, upto)
			if err != nil || !more {
				return err
			}
		}
		switch {
		case got == s.asked:
		case err == io.EOF:
			return fmt.Errorf("%w: it ends after %d of %d bytes", ErrCorrupt, base+got, f.size)
		case err != nil:
			return err
		case n > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return io.ErrNoProgress
			}
		}
	}
	return f.expectEnd(s, body, base+got)
}

// expectEnd reads on behind the last byte: the connection can be used again
// then, and a blob that is longer than its size is found out.
func (f *flight) expectEnd(s *stream, body io.Reader, end int64) error {
	if n, _ := body.Read(make([]byte, 1)); n > 0 && end == f.size {
		return fmt.Errorf("%w: it has more than %d bytes", ErrCorrupt, f.size)
	}
	return nil
}

func (f *flight) firstByte(s *stream) {
	f.mu.Lock()
	f.tuner.answered(time.Since(s.opened))
	f.mu.Unlock()
}

// bufferSize is large enough that a write and a wake-up cost little beside
// hashing it, and small enough to be in the processor's cache when it is
// hashed.
const bufferSize = 256 << 10

// spareBuffers is how many buffers of a flight may wait to be hashed.
const spareBuffers = 8

var bufferPool = sync.Pool{New: func() any { return &buffer{data: make([]byte, bufferSize)} }}

// buffer holds bytes on their way from a source to the disk and the hash.
type buffer struct {
	data   []byte
	base   int64 // where in the blob it begins, at a chunk
	filled int
	taken  int // of filled: given to the flight
	users  atomic.Int32
	back   chan struct{}
}

// buffer waits for one of the flight's buffers, and for the hash if the stream
// should not run further ahead of it.
func (f *flight) buffer(s *stream, base int64) (*buffer, error) {
	began := time.Now()
	f.mu.Lock()
	f.awaitHash(s)
	f.mu.Unlock()
	select {
	case f.buffers <- struct{}{}:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	if s.bulk {
		f.mu.Lock()
		f.tuner.held += time.Since(began)
		f.mu.Unlock()
	}
	buf := bufferPool.Get().(*buffer)
	buf.base, buf.filled, buf.taken, buf.back = base, 0, 0, f.buffers
	buf.users.Store(1)
	return buf, nil
}

func (b *buffer) release() {
	if b != nil && b.users.Add(-1) == 0 {
		back := b.back
		bufferPool.Put(b)
		<-back
	}
}
