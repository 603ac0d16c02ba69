package cache

import (
	"fmt"
	"io"
	"os"
	"time"
)

// lookup looks for the blob in the store. What it finds there unchanged since
// it was verified is served from then on; anything else is left to open, which
// hashes it first.
func (f *flight) lookup() {
	c := f.c
	if f.dead.Load() || !c.crew.enter() {
		return
	}
	defer c.crew.leave()
	// The reader's handle may close meanwhile, and nobody would close the file.
	f.mu.Lock()
	if f.idle {
		f.mu.Unlock()
		return
	}
	f.active++
	f.mu.Unlock()
	defer f.rest()
	file, err := os.Open(c.disk.blob(f.digest))
	if err != nil {
		c.counters.misses.Add(1)
		c.unlistVanished(f.digest, err)
		return
	}
	now, print, err := statFile(file)
	size, verified, ok := c.ledger.lookup(f.digest)
	if !ok {
		c.index.refresh() // another process may have stored it
		size, verified, ok = c.ledger.lookup(f.digest)
	}
	if err != nil || !ok || !verified.verified() || verified != print || size != now {
		f.mu.Lock()
		f.suspect = file
		f.mu.Unlock()
		return
	}
	c.counters.hits.Add(1)
	f.adopt(file, now)
}

// changed tells, as an error, that a stored file is no longer the one that was
// verified, although it is still open: someone wrote to it. Every handle asks
// when it meets the file.
func (f *flight) changed(file *os.File) error {
	size, verified, ok := f.c.ledger.lookup(f.digest)
	if !ok || !verified.verified() {
		return nil // evicted, or not recorded yet
	}
	now, print, err := statFile(file)
	switch {
	case err != nil:
		return nil // reading it will tell
	case print.ino != verified.ino, print.mtime == verified.mtime && print.ctime == verified.ctime && now == size:
		return nil
	case unlinked(file):
		return nil // by another process that needed room; its bytes are as they were
	}
	return errWritten
}

var errWritten = fmt.Errorf("%w: %w", ErrCorrupt, ErrChanged)

// written reports of a stored file that is open whether its bytes were written
// since it was verified. Another name for it, say, makes whoever opens it next
// look twice (changed), and is nothing to those who read it already.
func (f *flight) written(file *os.File) bool {
	size, verified, ok := f.c.ledger.lookup(f.digest)
	now, print, err := statFile(file)
	return err == nil && ok && verified.ino == print.ino && (verified.mtime != print.mtime || size != now)
}

// adopt makes a verified file of the store the one that is read.
func (f *flight) adopt(file *os.File, size int64) {
	if size != f.size {
		file.Close()
		f.die(fmt.Errorf("%w: %d bytes expected, it has %d", ErrCorrupt, f.size, size))
		return
	}
	item := f.c.ledger.pin(f.digest, size)
	f.c.touch(f.digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pinned, f.phase, f.inStore = item, phaseWhole, true
	f.stored.Store(file)
	f.wake()
}

// open prepares the download: it hashes the stored file if there is a doubtful
// one, and opens the partial otherwise.
func (f *flight) open() {
	f.mu.Lock()
	suspect := f.suspect
	f.suspect = nil
	f.mu.Unlock()
	if suspect != nil {
		if f.recheck(suspect) {
			return
		}
		f.c.counters.misses.Add(1)
	}
	f.openPartial()
}

// recheck hashes a stored file that may have changed, or was never verified.
// It reports false when the blob has to be downloaded.
func (f *flight) recheck(file *os.File) bool {
	c := f.c
	c.counters.rechecks.Add(1)
	before, print, err := statFile(file)
	hasher := f.digest.Algorithm().Hash()
	if err == nil {
		_, err = io.CopyBuffer(hasher, &progressReader{f, file}, make([]byte, bufferSize))
	}
	if f.ctx.Err() != nil {
		file.Close()
		f.mu.Lock()
		f.phase, f.hashed = phaseNew, 0
		f.mu.Unlock()
		return true // closing
	}
	f.mu.Lock()
	f.hashed = 0
	f.mu.Unlock()
	// Its data may have come with a crash: durable first, verified then.
	if err == nil {
		err = file.Sync()
	}
	after, printAfter, statErr := statFile(file)
	if err != nil || statErr != nil || before != after || print != printAfter || sum(f.digest, hasher) != f.digest {
		c.log.Warn("stored blob has changed and is downloaded again", "digest", f.digest.String())
		removeName(file)
		file.Close()
		c.unlist(f.digest)
		return false
	}
	c.index.add(record{op: '+', digest: f.digest, size: after, print: print, used: time.Now().UnixMilli()})
	c.counters.hits.Add(1)
	f.adopt(file, after)
	return true
}

// progressReader counts what is read as progress of a flight and ends with its
// context.
type progressReader struct {
	f    *flight
	file *os.File
}

func (r *progressReader) Read(p []byte) (int, error) {
	if err := r.f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.file.Read(p)
	r.f.mu.Lock()
	r.f.hashed += int64(n)
	r.f.mu.Unlock()
	return n, err
}

// openPartial begins or resumes the download.
func (f *flight) openPartial() {
	part, have, reserved, served := f.claimPartial()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have, f.writing = have, newChunks(f.size)
	f.part, f.reserved = part, reserved
	if part == nil {
		f.mem = newMemory(&f.c.memory)
	} else {
		f.allowance = max(0, reserved-int64(have.count)*chunkSize)
	}
	f.hasher, f.hashed, f.hashEnd = f.digest.Algorithm().Hash(), 0, 0
	f.resumed, f.served = have.count > 0, served
	if f.resumed {
		f.c.counters.resumed.Add(1)
	}
	f.phase = phaseFilling
	f.wake()
	f.schedule()
	f.hash()
}

// claimPartial opens the partial file and counts what it holds. It returns
// none where the blob has to do without the disk.
func (f *flight) claimPartial() (part *partial, have chunks, reserved int64, served bool) {
	c := f.c
	none := newChunks(f.size)
	if f.size > c.ledger.limit {
		c.warnDiskless("a blob is larger than the cache", f, nil)
		return nil, none, 0, false
	}
	part, have, err := openPartial(c.disk, f.digest, f.size)
	if err != nil {
		c.warnDiskless("the disk of the cache cannot be written", f, err)
		return nil, none, 0, false
	}
	reserved, served = c.ledger.claim(part.key)
	if need := int64(have.count) * chunkSize; need > reserved {
		c.recountForeign() // it was another process's, and must not count twice
		if !c.makeRoom(need - reserved) {
			c.ledger.disown(part.key, reserved)
			part.remove()
			part.close()
			c.warnDiskless("the cache is full of files in use", f, nil)
			return nil, none, 0, false
		}
		reserved = need
	}
	return part, have, reserved, served
}

// pause stops read-ahead after the last handle: what is on its way still
// arrives, but not much of it. It reports whether nothing is at work.
func (f *flight) pause() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = true
	f.window = window{}
	for _, s := range f.streams {
		s.end = min(s.end, (s.pos+minRange)/chunkSize*chunkSize)
	}
	for _, d := range f.demands {
		if !d.over {
			d.end(ErrClosed)
		}
	}
	return f.active == 0
}

// park closes the partial of a download that nobody waits for, so that it can
// be resumed: by this process, another, or after a reboot.
func (f *flight) park() {
	f.mu.Lock()
	part := f.part
	f.mu.Unlock()
	if part == nil {
		return
	}
	part.sync() // at worst a reboot loses more of it

	c := f.c
	c.mu.Lock()
	f.mu.Lock()
	wanted := f.handles > 0 && c.ctx.Err() == nil
	if wanted || f.phase != phaseFilling || f.hashing || len(f.streams) > 0 {
		// Someone came back meanwhile and finds everything as it was, or has
		// left work behind, whose end parks it again.
		f.mu.Unlock()
		c.mu.Unlock()
		return
	}
	f.phase = phaseParking
	reserved, served, have := f.reserved, f.served, f.have.count
	if f.mem != nil {
		have -= len(f.mem.chunks) // these are lost
	}
	f.leaveMemory()
	f.part, f.reserved, f.allowance = nil, 0, 0
	f.dropQueue()
	f.mu.Unlock()
	c.mu.Unlock()

	keep := have > 0 && part.ranges != nil
	if !keep {
		part.remove()
	}
	part.close()
	if keep {
		c.ledger.park(part.key, f.digest, reserved, int64(have)*chunkSize, time.Now().UnixMilli(), served)
	} else {
		c.ledger.disown(part.key, reserved)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	f.phase = phaseNew
	f.have, f.writing, f.hashed, f.hashEnd = chunks{}, chunks{}, 0, 0
	if len(f.demands) > 0 {
		f.begin()
	}
}

// release closes what a flight without handles still holds.
func (f *flight) release() {
	f.cancel()
	f.mu.Lock()
	part, suspect, pinned, reserved := f.part, f.suspect, f.pinned, f.reserved
	f.part, f.suspect, f.pinned, f.reserved = nil, nil, nil, 0
	f.leaveMemory()
	f.allowance = 0
	f.mu.Unlock()
	if file := f.stored.Load(); file != nil {
		file.Close()
	}
	if suspect != nil {
		suspect.Close()
	}
	f.c.ledger.unpin(pinned)
	if part != nil {
		// Dead, or verified without the rest of the disk: not to be resumed.
		part.remove()
		part.close()
		f.c.ledger.disown(part.key, reserved)
	}
}
