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
type ioMode struct {
	mu          sync.Mutex // guards what follows
	cached      int        // open handles of each way
	passthrough int
}

// open decides for one handle; the caller releases it in the same way.
func (m *ioMode) open(whole bool) (passthrough bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.passthrough > 0 || whole && m.cached == 0 {
		m.passthrough++
		return true
	}
	m.cached++
	return false
}

func (m *ioMode) release(passthrough bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if passthrough {
		m.passthrough--
	} else {
		m.cached--
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
