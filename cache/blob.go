package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Blob is a handle on one blob. Its methods are safe for concurrent use.
type Blob struct {
	f   *flight
	src *origin

	file   atomic.Pointer[os.File] // the flight's stored file, once this handle has met it
	closed atomic.Bool

	mu      sync.Mutex // guards what follows
	cursors cursors
}

// ReadAt reads len(p) bytes at off, waiting for those that are still to be
// downloaded. As with io.ReaderAt a read that reaches the end of the blob
// returns what there is and io.EOF; no other read is short without an error.
//
// The end of ctx ends the wait with the ctx's error and leaves the download
// alone. An error of the Source is returned wrapped, and returned again at
// once for a few seconds.
func (b *Blob) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if file := b.file.Load(); file != nil && !b.f.dead.Load() {
		return b.readFile(file, p, off)
	}
	return b.readFilling(ctx, p, off)
}

func (b *Blob) readFile(file *os.File, p []byte, off int64) (int, error) {
	n, err := file.ReadAt(p, off)
	if err != nil && err != io.EOF {
		if errors.Is(err, os.ErrClosed) {
			err = ErrClosed
		}
		return n, b.wrap(err)
	}
	return n, err
}

// readFilling is ReadAt of a blob that is not known to be stored.
func (b *Blob) readFilling(ctx context.Context, p []byte, off int64) (int, error) {
	if b.closed.Load() {
		return 0, b.wrap(ErrClosed)
	}
	if file := b.lookup(); file != nil {
		return b.readFile(file, p, off)
	}
	if off < 0 {
		return 0, b.wrap(fmt.Errorf("negative offset %d", off))
	}
	var end error
	if left := b.f.size - off; int64(len(p)) > left || left <= 0 {
		p, end = p[:max(left, 0)], io.EOF
	}
	for n := 0; ; {
		got, err := b.readPiece(ctx, p[n:min(n+maxPiece, len(p))], off+int64(n))
		if n += got; err != nil {
			return n, err
		}
		if n == len(p) {
			return n, end
		}
	}
}

// maxPiece is the most that a read waits for at once: without a disk it all
// has to be in memory at the same time.
const maxPiece = 4 << 20

// readPiece waits for p's bytes and reads them. It reads fewer, and is to be
// called again, when a chunk that is kept without a disk was dropped between.
func (b *Blob) readPiece(ctx context.Context, p []byte, off int64) (int, error) {
	if len(p) == 0 && b.f.size > 0 {
		return 0, b.Err()
	}
	if err := b.await(ctx, &demand{src: b.src, lo: off, hi: off + int64(len(p))}); err != nil {
		return 0, err
	}
	if file := b.lookup(); file != nil {
		return b.readFile(file, p, off)
	}
	n, err := b.f.read(p, off)
	if err != nil {
		err = b.wrap(err)
	}
	return n, err
}

// await waits until the demand's range can be read.
func (b *Blob) await(ctx context.Context, d *demand) error {
	f := b.f
	b.mu.Lock()
	run := b.cursors.note(d.lo, d.hi-d.lo)
	b.mu.Unlock()
	d.run = run > d.hi-d.lo

	f.mu.Lock()
	defer f.mu.Unlock()
	if b.closed.Load() {
		return b.wrap(ErrClosed) // since the read began: nobody may end its wait any more
	}
	if err := f.err; err != nil {
		return b.wrap(err)
	}
	d.whole = d.stored || f.withholds(d.hi)
	f.look(d, run)
	if f.satisfied(d) {
		f.served = f.served || f.phase != phaseWhole
		f.schedule() // the window may have moved
		return nil
	}
	if err := f.refusal(d); err != nil {
		return b.wrap(err)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := f.wait(ctx, d); err != nil {
		if ctx.Err() != nil && err == context.Cause(ctx) {
			return err
		}
		return b.wrap(err)
	}
	f.served = f.served || f.phase != phaseWhole
	return nil
}

func (b *Blob) wrap(err error) error { return fmt.Errorf("blob %s: %w", b.f.digest, err) }

// lookup returns the stored file, looking for it when nobody has yet. A dead
// blob has none: what was verified has changed since.
func (b *Blob) lookup() *os.File {
	f := b.f
	f.looked.Do(f.lookup)
	if f.dead.Load() {
		return nil
	}
	file := f.stored.Load()
	if file != nil && b.file.Load() == nil {
		if err := f.changed(file); err != nil {
			f.die(err)
			return nil
		}
		b.file.Store(file)
		if b.closed.Load() {
			b.file.Store(nil) // Close came between
		}
	}
	return file
}

// Fetch waits until the whole blob is on disk and verified. Without a disk to
// put it on it is enough that it was verified.
func (b *Blob) Fetch(ctx context.Context) error {
	if b.closed.Load() {
		return b.wrap(ErrClosed)
	}
	b.lookup()
	return b.await(ctx, &demand{src: b.src, lo: 0, hi: b.f.size, stored: true})
}

// Stored reports whether the whole blob is on disk and verified.
func (b *Blob) Stored() bool { return !b.closed.Load() && b.lookup() != nil }

// File returns an open descriptor of the whole, verified blob, or false when
// it is not there yet. The descriptor is the handle's: it is valid until
// Close, also when the blob is evicted meanwhile, and must not be closed.
func (b *Blob) File() (*os.File, bool) {
	if b.closed.Load() {
		return nil, false
	}
	file := b.lookup()
	return file, file != nil
}

// Err returns an error that wraps ErrCorrupt once the blob's bytes turned out
// wrong, and nil before.
func (b *Blob) Err() error {
	if !b.f.dead.Load() {
		return nil
	}
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	return b.wrap(b.f.err)
}

// Verified reports whether all bytes that a handle on this blob reads, or has
// read, are those of its digest. One on a blob whose bytes were wrong has none.
func (b *Blob) Verified() bool {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	return b.f.phase == phaseWhole
}

// Changed reports whether someone wrote to the stored file that the handle has met,
// or cut it, since it was verified. Then the blob is dead, as after a download of
// wrong bytes. It is for those who read File by themselves, and costs a system call.
func (b *Blob) Changed() bool {
	file := b.file.Load()
	if file == nil || !b.f.written(file) {
		return false
	}
	b.f.die(errWritten)
	return true
}

// OnDeath has do called once the blob's bytes turned out wrong, also when no read
// meets that: what was read before may be kept somewhere, and what the next handle
// reads is of another download. It is called before there can be such a handle,
// or at once if it is too late for that; not for a handle that was closed. It must
// neither block nor use the cache.
func (b *Blob) OnDeath(do func()) {
	f := b.f
	f.mu.Lock()
	if f.phase == phaseDead {
		f.mu.Unlock()
		do()
		return
	}
	defer f.mu.Unlock()
	if f.mourners == nil {
		f.mourners = make(map[*Blob]func())
	}
	f.mourners[b] = do
}

// Close gives the handle up. With the last handle of a blob its download
// pauses: what is on its way, or a little of it, still arrives.
func (b *Blob) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.file.Store(nil)
	b.f.mu.Lock()
	delete(b.f.mourners, b)
	b.f.mu.Unlock()
	b.f.c.leave(b.f)
	return nil
}
