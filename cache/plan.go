package cache

import "time"

// The decisions of a download, without I/O: how a reader reads, how far ahead
// of it to fetch, and which range is next.

const (
	// pageSize is the unit in which the kernel asks for and keeps bytes. The
	// last one of a blob is withheld until the digest has matched.
	pageSize = 4 << 10

	// smallBlob is the size up to which blobs are verified before their first
	// byte: it is downloaded in a moment and fits into memory.
	smallBlob = 8 << 20

	// randomRange is what a read out of the blue fetches. On a link with
	// 30 ms of latency it costs next to nothing more than a page.
	randomRange = 128 << 10

	// firstRange is what a read at offset 0 fetches: most programs that begin
	// there go on, and the rest (file, head) need less.
	firstRange = 512 << 10

	// wantsAll is how many bytes in a row show that a reader wants the whole
	// blob.
	wantsAll = 2 << 20

	// maxAhead bounds the read-ahead of a reader that has not shown it yet.
	maxAhead = 8 << 20

	// stealRandom and stealSequential are how far ahead of a running range's
	// position a read may be and still wait for it. A sequential reader has
	// several reads in flight (the kernel's read-ahead) and is better served
	// by waiting.
	stealRandom     = 1 << 20
	stealSequential = 16 << 20

	// minRange and maxRange bound a range of a sequential download: small
	// enough to share the end of a blob among several, large enough that the
	// exchange does not show.
	minRange = 1 << 20
	maxRange = 64 << 20
	// memoryRange bounds it when there is no disk, so that several fit into the
	// half of the memory that may be ahead of a reader.
	memoryRange = 2 << 20
	// startRange is its size before anything was measured. Blobs that are
	// verified first fit into one.
	startRange = smallBlob
)

// cursors follow the sequential readers behind one handle. The kernel sends
// several reads at once and not in order, and several programs may share a
// handle, so there is more than one and each forgives some disorder.
type cursors struct {
	list  [4]cursor
	clock int64
}

type cursor struct {
	start int64 // of what was read
	next  int64 // and its end
	run   int64 // bytes that were read between: no more than there are
	used  int64 // of the clock
}

// disorder is how far from the expected place a read still belongs to a run:
// the kernel's largest read-ahead, but no more than was read already, so that
// random reads in one neighbourhood are not taken for a run.
const disorder = 4 << 20

// note takes a read of n bytes at off in and returns the length of the run
// that it belongs to.
func (c *cursors) note(off, n int64) int64 {
	c.clock++
	oldest := &c.list[0]
	for i := range c.list {
		k := &c.list[i]
		if k.used > 0 && off <= k.next+min(k.run, disorder) && off+n >= k.next-min(k.run, disorder) {
			k.next = max(k.next, off+n)
			k.run = min(k.run+n, k.next-k.start)
			k.used = c.clock
			return k.run
		}
		if k.used < oldest.used {
			oldest = k
		}
	}
	*oldest = cursor{start: off, next: off + n, run: n, used: c.clock}
	return n
}

// ahead is how many bytes from off on to fetch for a read of n bytes there
// that continues a run (which includes it). everything says that the rest of
// the blob is wanted as well.
func ahead(off, n, run int64) (bytes int64, everything bool) {
	switch {
	case run >= wantsAll && run > n:
		return maxAhead, true
	case run > n:
		return max(n, min(4*run, maxAhead)), false
	case off == 0:
		return max(n, firstRange), false
	}
	return max(n, randomRange), false
}

// span is a range of chunks.
type span struct{ lo, hi int }

// nextGap finds the first chunks of [lo, hi) that are neither there nor in one
// of the running ranges, which are in no order.
func nextGap(have *chunks, running []span, lo, hi int) (gap span, ok bool) {
	for {
		if lo = have.gap(lo); lo >= hi {
			return span{}, false
		}
		covered := false
		for _, r := range running {
			if lo >= r.lo && lo < r.hi {
				lo, covered = r.hi, true
			}
		}
		if !covered {
			break
		}
	}
	hi = min(hi, have.next(lo))
	for _, r := range running {
		if r.lo > lo {
			hi = min(hi, r.lo)
		}
	}
	return span{lo, hi}, true
}

// tuner finds how many ranges of a blob to download at once: it takes more as
// long as that makes the whole clearly faster, goes back when it does not, and
// tries again now and then. More are of no use while they wait for the hash.
type tuner struct {
	most    int           // never more than this
	streams int           // how many now
	before  int           // and before the last step
	rate    float64       // bytes per second with the number before
	latency time.Duration // from the request to its first byte, lately
	holding bool          // found: no further try before until
	until   time.Time
	since   time.Time     // the measurement began; zero before the first byte
	bytes   int64         // that came during it
	held    time.Duration // that all streams together waited for the hash
}

const (
	// A measurement lasts at least this long, and several latencies.
	measure = 80 * time.Millisecond
	// step is how many times as many streams are tried next. Where each is
	// slow, dozens are needed, and every step costs a measurement.
	step = 4
	// worthwhile is the gain that a step must bring to stay.
	worthwhile = 1.2
	// holdTime is how long a number is kept before a larger one is tried
	// again: networks change, and a try costs little.
	holdTime = 3 * time.Second
)

// faraway is the latency from which on one stream is not even tried.
const faraway = 15 * time.Millisecond

// mostLatency is what more than that counts as: it was a login, or a pause of a
// registry that throttles, and says nothing about the next answer.
const mostLatency = time.Second

// answered takes in how long a request waited for its first byte.
func (t *tuner) answered(latency time.Duration) {
	t.latency = min(latency, mostLatency)
	if t.rate == 0 && t.since.IsZero() && latency >= faraway {
		t.before, t.streams = 1, min(step, t.most)
	}
}

// add takes in n bytes that arrived at now, and reports whether the number of
// streams went up.
func (t *tuner) add(now time.Time, n int64) bool {
	if t.since.IsZero() {
		t.since, t.bytes, t.held = now.Add(t.latency), 0, 0
		return false
	}
	if now.Before(t.since) {
		return false // the new streams are still waiting for their first byte
	}
	t.bytes += n
	took := now.Sub(t.since)
	if took < max(measure, 3*t.latency) {
		return false
	}
	rate := float64(t.bytes) / took.Seconds()
	behind := t.held > took*time.Duration(t.streams)/4
	t.since = time.Time{}
	switch {
	case t.holding && now.Before(t.until):
		t.rate = rate
		return false
	case t.holding:
		t.holding = false
		t.rate = 0
	}
	gained := t.rate == 0 || rate >= worthwhile*t.rate
	if !gained {
		t.streams = t.before
	} else {
		t.rate = rate
	}
	if !gained || behind || t.streams >= t.most {
		t.holding, t.until = true, now.Add(holdTime)
		return false
	}
	t.before, t.streams = t.streams, min(step*t.streams, t.most)
	return true
}

// rangeBytes is the size of the next range of a sequential download with left
// bytes to go and have of them here: half a second's worth of one stream, less in
// the beginning. The hash goes through the ranges one after another, and would
// have next to nothing to do until the first ones are whole.
func (t *tuner) rangeBytes(left, have int64) int64 {
	size := int64(startRange)
	if t.rate > 0 {
		size = int64(t.rate / 2 / float64(t.streams))
	}
	if t.streams > 1 {
		size = min(size, min(left, have)/int64(t.streams))
	}
	return min(max(size, minRange), maxRange)
}
