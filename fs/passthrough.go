package fs

import (
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/acrfs/acrfs/cache"
)

// ioMode decides how the handles of one blob are served. The kernel has two
// ways for an inode, and refuses to mix them with EIO:
//
//   - cached: it reads through this daemon into its page cache;
//   - passthrough: it reads the file in the cache directory by itself, at the
//     speed of that file.
//
// So: while a passthrough handle is open, whoever opens the blob joins it,
// whatever has become of the cached file; while a cached one is open, or a
// mapping of it, the others are cached as well; else a whole, verified file is
// passed through.
//
// And whether the kernel may keep the pages that it has of the blob. They stay
// when all handles are closed, also those of a download that was not verified
// then, and a later handle may be on another download. As long as one is open
// there is one download for all.
type ioMode struct {
	mu          sync.Mutex // guards what follows
	cached      int        // open handles of each way
	passthrough int
	doubtful    bool // the kernel may have pages that nobody has verified yet
	dropping    bool // it was told to throw them away, and has not told that it did
}

// open decides for one handle; the caller releases it in the same way.
func (m *ioMode) open(whole bool) (passthrough, keepPages bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cached+m.passthrough == 0 && m.doubtful {
		m.doubtful, m.dropping = false, true
	}
	keepPages = !m.dropping
	if m.passthrough > 0 || whole && m.cached == 0 {
		m.passthrough++
		return true, keepPages
	}
	m.cached++
	return false, keepPages
}

// dropped notes that the kernel has thrown the pages away: a handle that was
// opened without them reads.
func (m *ioMode) dropped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropping = false
}

// doubt notes that unverified bytes go to the kernel.
func (m *ioMode) doubt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doubtful = true
}

// release ends the use by one handle. verified tells whether its download was by
// now, and with it all that it gave away.
func (m *ioMode) release(passthrough, verified bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if passthrough {
		m.passthrough--
	} else {
		m.cached--
	}
	if verified && m.cached+m.passthrough == 0 {
		m.doubtful = false
	}
}

// canPassThrough finds out, once for a mount, whether the kernel lets files of
// the cache directory be passed through: it has to be new enough (6.9), the
// daemon privileged, and the directory not itself on a stacked file system. A
// failure later on would make go-fuse stop passing anything through, silently.
func canPassThrough(server *fuse.Server, c *cache.Cache) bool {
	probe, err := os.CreateTemp(c.Dir(), ".probe-*")
	if err != nil {
		return false
	}
	defer probe.Close()
	defer os.Remove(probe.Name())
	id, errno := server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(probe.Fd())})
	if errno != 0 {
		return false
	}
	return server.UnregisterBackingFd(id) == 0
}
