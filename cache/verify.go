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
	f.leaveMemory()
	f.phase, f.hashing = phaseOpening, false
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
	now := time.Now().UnixMilli()
	err := unix.Fdatasync(int(part.file.Fd()))
	if err == nil {
		// The record before the file: a crash between the two must not leave a
		// file that does not count.
		f.mu.Lock()
		reserved := f.reserved
		f.reserved, f.allowance = 0, 0
		f.mu.Unlock()
		c.ledger.move(f.digest, reserved)
		c.index.add(record{op: '+', digest: f.digest, size: f.size, used: now})
	}
	// It is open, in the store or not.
	pinned := c.ledger.pin(f.digest, f.size)
	if err == nil {
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
			c.unlist(f.digest)
		}
	}
	if err != nil {
		c.warnDiskless("a finished download cannot be stored", f, err)
	}
	f.mu.Lock()
	f.inStore, f.part, f.pinned = true, nil, pinned
	reserved := f.reserved // when it was not listed
	f.reserved, f.allowance = 0, 0
	f.wake()
	f.mu.Unlock()
	if err != nil {
		part.remove()
	}
	c.ledger.disown(part.key, reserved)
	part.close()
}
