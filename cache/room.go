package cache

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// makeRoom counts n more bytes of a download and removes the least recently
// used files for them. It reports false, and counts nothing, when all that is
// left is in use.
func (c *Cache) makeRoom(n int64) bool {
	c.index.refresh() // what other processes stored and removed counts too
	c.countForeign()
	victims, ok := c.ledger.reserve(n)
	if !ok && c.reclaim() {
		victims, ok = c.ledger.reserve(n)
	}
	if len(victims) == 0 {
		return ok
	}
	names := make([]digest.Digest, 0, len(victims))
	for _, it := range victims {
		if it.partial() {
			c.removePartial(it.key)
			continue
		}
		os.Remove(c.disk.blob(it.digest))
		names = append(names, it.digest)
	}
	c.counters.evictions.Add(int64(len(victims)))
	c.unlist(names...)
	return ok
}

// unlist records that files are gone. One that has been stored again meanwhile
// may have its record before that one, and is listed once more.
func (c *Cache) unlist(names ...digest.Digest) {
	var gone, back []record
	for _, d := range names {
		gone = append(gone, record{op: '-', digest: d})
	}
	c.index.add(gone...)
	for _, d := range names {
		if info, err := os.Lstat(c.disk.blob(d)); err == nil {
			back = append(back, record{op: '+', digest: d, size: info.Size(), used: time.Now().UnixMilli()})
		}
	}
	if len(back) > 0 {
		c.index.add(back...)
	}
}

// unlistVanished mends the index after the open of a stored file has failed:
// someone else has removed it.
func (c *Cache) unlistVanished(d digest.Digest, err error) {
	if _, _, ok := c.ledger.lookup(d); ok && errors.Is(err, os.ErrNotExist) {
		c.unlist(d)
	}
}

// removePartial removes a parked partial unless another process has taken it
// over, which then counts it.
func (c *Cache) removePartial(key string) {
	path := filepath.Join(c.disk.dir, key)
	if file := lockAbandoned(path); file != nil {
		defer file.Close()
		os.Remove(path + mapSuffix)
		os.Remove(path)
	}
}

// foreignEvery is how old the count of other processes' partials may be.
const foreignEvery = time.Second

func (c *Cache) countForeign() {
	now := time.Now().UnixMilli()
	last := c.foreign.Load()
	age := now - last // negative when the clock was set back
	if age >= 0 && age < foreignEvery.Milliseconds() || !c.foreign.CompareAndSwap(last, now) {
		return
	}
	c.recountForeign()
}

// recountForeign is for when a partial has become ours.
func (c *Cache) recountForeign() {
	c.ledger.setForeign(c.disk.allocated(c.ledger.counted))
}

// reclaim takes over what processes that have gone left: partials are parked as
// ours and may be evicted, private downloads are removed. It reports whether
// there were any.
func (c *Cache) reclaim() bool {
	found := c.disk.abandoned(c.ledger.isMine, func(key string, name digest.Digest, bytes, used int64) {
		c.ledger.park(key, name, 0, bytes, used, false)
	})
	if found {
		c.recountForeign()
	}
	return found
}

// touch notes that a stored blob is used.
func (c *Cache) touch(d digest.Digest) {
	now := time.Now().UnixMilli()
	if c.ledger.touch(d, now) {
		c.index.use(d, now)
	}
}

// warnDiskless says once that blobs are read without the disk, until it has
// worked again.
func (c *Cache) warnDiskless(why string, f *flight, err error) {
	c.counters.diskless.Add(1)
	if c.degraded.Swap(true) {
		return
	}
	args := []any{"reason", why, "dir", c.disk.dir}
	if f != nil {
		args = append(args, "digest", f.digest.String(), "size", f.size)
	}
	if err != nil {
		args = append(args, "error", err)
	}
	c.log.Warn("reading without the cache", args...)
}

// healthy says that the disk works.
func (c *Cache) healthy() { c.degraded.Store(false) }

// load opens the directory and reads the index.
func (c *Cache) load() error {
	var alone bool
	var err error
	if c.disk, alone, err = openDisk(c.cfg.Dir); err != nil {
		return err
	}
	l := newLedger(c.cfg.Size)
	c.ledger = l
	index := c.disk.index()
	journal, records, bad, err := openJournal(index, l.apply, c.log)
	if err != nil {
		return err
	}
	c.index = journal
	journal.compact, journal.most = c.compactIndex, 2*len(l.items)+manyLines
	if alone {
		if err := c.tidy(records, bad); err != nil {
			return err
		}
	}
	if l.limit == 0 {
		free, err := freeSpace(c.disk.dir)
		if err != nil {
			return err
		}
		// What the cache holds already is not lost to it: otherwise its limit
		// would shrink with every start.
		l.limit = defaultSize(free + l.used())
	}
	return nil
}

// tidy does what only a process that is alone can do: it finds what crashed
// ones left, completes the index from the store when it is damaged, and writes
// it anew when most of it is history.
func (c *Cache) tidy(records, bad int) error {
	l := c.ledger
	c.disk.sweep(func(key string, name digest.Digest, bytes, used int64) {
		l.park(key, name, 0, bytes, used, false)
	})
	if bad > 0 || records == 0 {
		err := listStore(c.disk.blobs(), func(r record) {
			if _, _, ok := l.lookup(r.digest); !ok {
				l.apply(r)
				bad++
			}
		})
		if err != nil {
			c.log.Warn("the store of the cache cannot be listed", "error", err)
		}
	}
	if live := len(l.items); bad > 0 || records > 2*live+1000 {
		if err := c.rewriteIndex(); err != nil {
			// It is only longer than it need be.
			c.log.Warn("cache index cannot be rewritten", "error", err)
		}
	}
	return c.share()
}

// share lets other processes in after being alone. One lock is given up and the
// other taken: whoever started in that moment may have taken itself for alone,
// and have written a new index.
func (c *Cache) share() error {
	err := c.disk.share()
	if path := c.disk.index(); !samePath(c.index.file, path) {
		err = errors.Join(err, c.index.reopen(path, 0))
	}
	return err
}

// manyLines is the history that an index may have beside what is true.
const manyLines = 100_000

// rewriteIndex writes the index anew from the ledger. No other process may
// have it open.
func (c *Cache) rewriteIndex() error {
	records := c.ledger.snapshot()
	size, err := writeJournal(c.disk.index(), records)
	if err != nil {
		return err
	}
	c.index.lines, c.index.most = len(records), 2*len(records)+manyLines
	return c.index.reopen(c.disk.index(), size)
}

// compactIndex rewrites the index of a cache that has been open for long, when
// no other process has it open. The journal's owner calls it.
func (c *Cache) compactIndex() {
	var err error
	if unix.Flock(int(c.disk.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		if _, _, err = c.index.read(); err == nil {
			err = c.rewriteIndex()
		}
	}
	// Also after a try that failed, which gave the shared lock up.
	if err = errors.Join(err, c.share()); err != nil {
		c.log.Warn("cache index cannot be rewritten", "error", err)
	}
}
