package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// phase is how far a flight is.
type phase int

const (
	phaseNew     phase = iota // nothing was done but, perhaps, to look into the store
	phaseOpening              // a goroutine checks the stored file or opens the partial
	phaseFilling              // the partial is open
	phaseWhole                // every byte is verified: in the file, or on a way without disk by chunk
	phaseParking              // the last handle closed, and so does the partial
	phaseDead                 // the bytes were wrong; err says so
)

// flight is the state that all handles on one blob share: the stored file, or
// the download that makes it. It outlives its readers: they wait for chunks,
// and leaving stops the waiting only.
//
// Invariants, checked by check: have and writing do not overlap; hashed ≤
// hashEnd ≤ size, and what lies below hashEnd was there; the ranges of the
// streams are in bounds; a stored file means phaseWhole.
type flight struct {
	c      *Cache
	digest digest.Digest
	size   int64
	// Bytes from here on are withheld until the digest has matched: 0 when
	// that is all of them.
	withheld int64

	stored atomic.Pointer[os.File] // set when the whole file is verified
	dead   atomic.Bool             // phaseDead, for those without the lock
	looked sync.Once               // looks into the store

	handles int // guarded by the cache's mu

	mu      sync.Mutex // guards what follows; never held across I/O
	phase   phase
	err     error // of phaseDead
	idle    bool  // no handle is open
	active  int   // goroutines that work for it
	suspect *os.File
	pinned  *item
	// Of the handles that want to know when the bytes turn out wrong.
	mourners map[*Blob]func()

	// The download.
	ctx       context.Context // of its requests
	cancel    context.CancelFunc
	part      *partial // nil without a disk
	have      chunks
	writing   chunks // being written: every chunk is written once
	streams   []*stream
	demands   []*demand
	failures  []failure
	window    window
	tuner     tuner
	paused    time.Time     // no read-ahead before, but for a reader who waits for all of it
	reserved  int64         // bytes counted in the ledger
	allowance int64         // of them, not used yet
	asking    chan struct{} // closed when the ledger has answered; nil: nobody asks
	resumed   bool          // some bytes are of an earlier run
	served    bool          // a reader has seen bytes that were not verified
	inStore   bool          // renamed and recorded, or given up

	// The verification, in order.
	hasher  hash.Hash
	hashed  int64
	hashEnd int64 // queued or hashed up to here
	queue   []piece
	hashing bool
	// Closed when the streams that ran ahead of it may go on; nil: none waits.
	caughtUp chan struct{}

	buffers chan struct{} // bounds those in use
	mem     *memory       // chunks when there is no disk for them
}

// window is what the latest sequential reader will want next.
type window struct {
	src        *origin
	lo, hi     int64
	everything bool // and then all the rest
}

// demand is one waiting reader.
type demand struct {
	src    *origin
	lo, hi int64
	ahead  int64 // the end of what the reader will probably want with it
	run    bool  // it belongs to a sequential reader
	whole  bool  // the digest must have matched
	stored bool  // and the file be in the store
	over   bool  // done is closed
	err    error
	done   chan struct{}
}

// failure is an error of a Source that is remembered.
type failure struct {
	src   *origin
	err   error
	until time.Time
}

// remember is how long a failed read is answered with the same error: the
// kernel repeats a failed read-ahead three times.
const remember = 5 * time.Second

// retryTick is how often a waiting reader looks whether its bytes can be asked
// for again.
const retryTick = 250 * time.Millisecond

func newFlight(c *Cache, d digest.Digest, size int64) *flight {
	f := &flight{c: c, digest: d, size: size}
	f.ctx, f.cancel = context.WithCancel(c.ctx)
	if size > smallBlob && c.cfg.Verify != VerifyStrict {
		f.withheld = (size - 1) / pageSize * pageSize
	}
	// Some are for requests made for a waiting reader.
	f.tuner = tuner{streams: 1, most: max(1, c.cfg.Streams*3/4)}
	f.buffers = make(chan struct{}, c.cfg.Streams+spareBuffers)
	return f
}

// work runs a goroutine for the flight and reports whether it does; f.mu is
// held.
func (f *flight) work(do func()) bool {
	f.active++
	started := f.c.crew.start(func() {
		do()
		f.rest()
	})
	if !started {
		f.active-- // closing
	}
	return started
}

// rest ends a goroutine's work. The last one retires a flight without handles.
func (f *flight) rest() {
	f.mu.Lock()
	f.active--
	retire := f.idle && f.active == 0
	f.mu.Unlock()
	if retire {
		f.c.retire(f)
	}
}

// begin starts what a first reader needs; f.mu is held.
func (f *flight) begin() {
	if f.phase == phaseNew {
		f.phase = phaseOpening
		f.work(f.open)
	}
}

// withholds reports whether a read up to hi has to wait for the digest: of a blob
// that is withheld whole that is every read, also the one of no byte that ends an
// empty one.
func (f *flight) withholds(hi int64) bool { return f.withheld == 0 || hi > f.withheld }

// ready reports whether [lo, hi) can be read now; f.mu is held.
func (f *flight) ready(lo, hi int64) bool {
	if f.phase != phaseWhole && (f.phase != phaseFilling || f.withholds(hi)) {
		return false
	}
	return f.stored.Load() != nil || f.have.all(chunkOf(lo), chunkEnd(hi))
}

// fetching reports whether bytes are still to come: of a download, or of a
// verified blob without a disk; f.mu is held.
func (f *flight) fetching() bool {
	return f.phase == phaseFilling || f.phase == phaseWhole && f.stored.Load() == nil
}

// satisfied reports whether a demand has what it waits for; f.mu is held.
func (f *flight) satisfied(d *demand) bool {
	switch {
	case d.stored:
		return f.phase == phaseWhole && f.inStore
	default:
		return f.ready(d.lo, d.hi)
	}
}

// wake tells the readers whose wait is over; f.mu is held.
func (f *flight) wake() {
	for _, d := range f.demands {
		if !d.over && f.satisfied(d) {
			d.end(nil)
		}
	}
}

func (d *demand) end(err error) {
	d.over, d.err = true, err
	close(d.done)
}

// wait waits for a demand; f.mu is held when it is called and when it returns.
func (f *flight) wait(ctx context.Context, d *demand) error {
	d.done = make(chan struct{})
	f.demands = append(f.demands, d)
	f.begin()
	f.schedule()
	f.hash()
	f.releaseHeld()
	ticker := time.NewTicker(max(min(f.c.cfg.StallTimeout/8, retryTick), time.Millisecond))
	defer ticker.Stop()
	mark, since := f.progress(d), time.Now()
	for !d.over {
		f.mu.Unlock()
		var err error
		select {
		case <-d.done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-f.c.ctx.Done():
			err = ErrClosed
		case <-ticker.C:
		}
		f.mu.Lock()
		if now := f.progress(d); now != mark {
			mark, since = now, time.Now()
		}
		if !d.over && err == nil {
			// What was held back for a moment - read-ahead after a failure, a
			// source that had failed - may have become due, and nobody else
			// looks.
			if err = f.refusal(d); err == nil {
				f.schedule()
			}
		}
		if !d.over && err == nil && time.Since(since) >= f.c.cfg.StallTimeout {
			err = ErrStalled
			f.fail(d.src, err)
			if !d.whole {
				f.abandon(chunkOf(d.lo))
			}
		}
		if !d.over && err != nil {
			d.end(err)
		}
	}
	f.demands = slices.DeleteFunc(f.demands, func(o *demand) bool { return o == d })
	return d.err
}

// progress is a number that changes while something is done towards a demand;
// f.mu is held.
func (f *flight) progress(d *demand) int64 {
	sum := int64(f.phase)
	if d.whole && f.phase != phaseWhole || f.have.n == 0 {
		return sum + f.hashed + int64(f.have.count)*chunkSize
	}
	first := f.have.gap(chunkOf(d.lo))
	for _, s := range f.covering(first) {
		sum += s.pos + f.hashed // it may be waiting for the hash
	}
	return sum + int64(min(first, chunkEnd(d.hi)))
}

// fail remembers an error of a source; f.mu is held.
func (f *flight) fail(src *origin, err error) {
	now := time.Now()
	f.failures = slices.DeleteFunc(f.failures, func(o failure) bool {
		return now.After(o.until) || sameSource(o.src, src)
	})
	if len(f.failures) < 64 { // handles come and go; the oldest are soon over
		f.failures = append(f.failures, failure{src, err, now.Add(remember)})
	}
}

// failed returns the remembered error of a source; f.mu is held.
func (f *flight) failed(src *origin) error {
	for _, o := range f.failures {
		if sameSource(o.src, src) && time.Now().Before(o.until) {
			return o.err
		}
	}
	return nil
}

// origin is the Source of one handle.
type origin struct{ Source }

// sameSource reports whether two handles get their bytes from the same place.
func sameSource(a, b *origin) bool {
	if a == b {
		return true
	}
	return reflect.ValueOf(a.Source).Comparable() && reflect.ValueOf(b.Source).Comparable() && a.Source == b.Source
}

// die ends the flight: its bytes are wrong, or nobody can tell any more. It is
// called without the lock, by whoever found out.
func (f *flight) die(err error) {
	f.mu.Lock()
	if f.phase == phaseDead {
		f.mu.Unlock()
		return
	}
	f.phase, f.err = phaseDead, err
	f.dropQueue()
	part, mourners := f.part, f.mourners
	f.mourners = nil
	f.mu.Unlock()
	for _, told := range mourners {
		told()
	}
	f.dead.Store(true) // from here on there may be another flight
	what := "download cannot be read back"
	if !errors.Is(err, errUnreadable) {
		what = "blob is corrupt"
		f.c.counters.corruptions.Add(1)
	}
	f.c.log.Error(what, "digest", f.digest.String(), "size", f.size, "error", err)
	f.cancel()
	f.c.detach(f)
	if part != nil {
		part.remove()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.demands {
		if !d.over {
			d.end(err)
		}
	}
}

// check returns what is wrong with the flight, or "".
func (f *flight) check() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.have.n > 0 {
		for i := range f.have.n {
			if f.have.has(i) && f.writing.has(i) {
				return fmt.Sprintf("chunk %d is there and being written", i)
			}
		}
		if problem := f.have.check() + f.writing.check(); problem != "" {
			return problem
		}
	}
	for _, s := range f.streams {
		if s.pos < 0 || s.pos > f.size || s.end > f.size {
			return "a stream is out of bounds"
		}
	}
	switch {
	case f.hashed > f.hashEnd || f.hashEnd > f.size:
		return "the hash is ahead of the bytes"
	case f.allowance < 0 || f.allowance > f.reserved:
		return "more was written than reserved"
	case f.stored.Load() != nil && f.phase != phaseWhole:
		return "stored and not whole"
	}
	return ""
}
