package cache

import "sync/atomic"

// Stats is a snapshot of a cache's counters. Those without another word count
// since Open.
type Stats struct {
	Stored  int64 // bytes of whole, verified content now
	Partial int64 // bytes of unfinished downloads now
	Evicted int64 // bytes of removed files that are still open now
	Foreign int64 // bytes of other processes' unfinished downloads, as last seen
	Limit   int64 // most bytes, as configured
	Files   int64 // stored files now

	Hits      int64 // blobs opened, and Gets answered, from the store
	Misses    int64 // blobs that had to be downloaded, and Gets not answered
	Downloads int64 // blobs downloaded, verified and stored
	Resumed   int64 // downloads that went on with bytes of an earlier one
	Ranges    int64 // ranges asked of Sources
	Fetched   int64 // bytes that came from Sources
	Failures  int64 // ranges that failed

	Evictions   int64 // files removed to keep the limit
	Corruptions int64 // blobs whose bytes did not match
	Rechecks    int64 // files hashed again before use
	Diskless    int64 // blobs read without the disk
}

type counters struct {
	hits, misses, downloads, resumed, ranges, fetched, failures atomic.Int64
	evictions, corruptions, rechecks, diskless                  atomic.Int64
}

// Stats returns a snapshot of the counters.
func (c *Cache) Stats() Stats {
	l := c.ledger
	l.mu.Lock()
	s := Stats{
		Stored: l.stored, Partial: l.partial, Evicted: l.evicted, Foreign: l.foreign,
		Limit: l.limit, Files: int64(len(l.items)),
	}
	l.mu.Unlock()
	n := &c.counters
	s.Hits, s.Misses, s.Downloads, s.Resumed = n.hits.Load(), n.misses.Load(), n.downloads.Load(), n.resumed.Load()
	s.Ranges, s.Fetched, s.Failures = n.ranges.Load(), n.fetched.Load(), n.failures.Load()
	s.Evictions, s.Corruptions = n.evictions.Load(), n.corruptions.Load()
	s.Rechecks, s.Diskless = n.rechecks.Load(), n.diskless.Load()
	return s
}
