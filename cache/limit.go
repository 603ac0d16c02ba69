package cache

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// item is a file that counts: a stored blob, or a partial download that
// nobody has open.
type item struct {
	key    string // the digest of a stored blob, the path below Dir of a partial
	digest digest.Digest
	size   int64 // bytes it counts for
	print  fingerprint
	used   int64 // milliseconds since 1970
	open   int   // flights that have the stored file open
	gone   bool  // removed while open: counts as evicted until it is closed
	served bool  // of a partial: readers of this process have seen bytes of it
}

func (it *item) partial() bool { return it.key != string(it.digest) }

// ledger knows what is on disk and keeps the sum within the limit. It does no
// I/O: whoever asks for room is told which files to remove for it.
//
// Invariants, checked by check: stored is the sum of the stored items; the
// lru holds exactly the stored items that nobody has open, and the parked
// partials; partial counts the parked partials and what the downloads in
// progress have reserved.
type ledger struct {
	limit int64

	mu      sync.Mutex // guards what follows; never held across I/O
	items   map[digest.Digest]*item
	parked  map[string]*item
	lru     lru
	mine    map[string]int          // partials that this process has open, removed ones too: how often
	moving  map[digest.Digest]int64 // reserved bytes that become stored ones with the next record
	stored  int64
	partial int64
	evicted int64 // files removed while open
	foreign int64 // partials of other processes, as last seen
}

func newLedger(limit int64) *ledger {
	return &ledger{
		limit: limit, lru: newLRU(), mine: make(map[string]int),
		items: make(map[digest.Digest]*item), parked: make(map[string]*item), moving: make(map[digest.Digest]int64),
	}
}

// apply takes a record of the index in: ours when it has been written, or
// another process's.
func (l *ledger) apply(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.items[r.digest]
	if r.op == '+' {
		l.partial -= l.moving[r.digest]
		delete(l.moving, r.digest)
	}
	switch {
	case r.op == '-':
		l.drop(it)
	case r.op == 'u':
		if it != nil && r.used > it.used {
			it.used = r.used
			if it.open == 0 {
				l.lru.add(it)
			}
		}
	case it == nil:
		it = &item{key: string(r.digest), digest: r.digest, size: r.size, print: r.print, used: r.used}
		l.items[r.digest] = it
		l.stored += it.size
		l.lru.add(it)
	default:
		// Written again, or verified: the same content under another
		// fingerprint.
		idle := l.lru.remove(it)
		l.stored += r.size - it.size
		it.size, it.print, it.used = r.size, r.print, r.used
		if idle {
			l.lru.add(it)
		}
	}
}

// drop forgets a stored item. While it is open its bytes still count.
func (l *ledger) drop(it *item) {
	if it == nil || it.gone {
		return
	}
	it.gone = true
	delete(l.items, it.digest)
	l.lru.remove(it)
	l.stored -= it.size
	if it.open > 0 {
		l.evicted += it.size
	}
}

// lookup returns what the index says about a stored blob.
func (l *ledger) lookup(d digest.Digest) (size int64, print fingerprint, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.items[d]
	if it == nil {
		return 0, fingerprint{}, false
	}
	return it.size, it.print, true
}

// pin keeps a stored blob that was opened from being chosen for eviction until
// unpin, which wants what pin returned. One that is not in the index was evicted
// meanwhile, or never got there, and its size counts as long as it is open.
func (l *ledger) pin(d digest.Digest, size int64) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.items[d]
	if it == nil {
		it = &item{key: string(d), digest: d, size: size, gone: true}
		l.evicted += size
	}
	it.open++
	l.lru.remove(it)
	return it
}

func (l *ledger) unpin(it *item) {
	if it == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	it.open--
	switch {
	case it.open > 0:
	case it.gone:
		l.evicted -= it.size
	default:
		l.lru.add(it)
	}
}

// reserve counts n more bytes of a download in progress. The victims are no
// longer counted and their files must be removed by the caller. When there is
// not enough to evict nothing is reserved and nobody is a victim.
func (l *ledger) reserve(n int64) (victims []*item, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := l.used() + n - l.limit
	if over > l.lru.bytes {
		return nil, false
	}
	for freed := int64(0); freed < over; {
		it := l.lru.removeOldest()
		freed += it.size
		if it.partial() {
			delete(l.parked, it.key)
			l.partial -= it.size
		} else {
			it.gone = true
			delete(l.items, it.digest)
			l.stored -= it.size
		}
		victims = append(victims, it)
	}
	l.partial += n
	return victims, true
}

// move says that n reserved bytes become the stored blob d: they are released
// in the same moment in which its record is applied, so that they are never
// counted twice.
func (l *ledger) move(d digest.Digest, n int64) {
	l.mu.Lock()
	l.moving[d] += n
	l.mu.Unlock()
}

// park counts a partial that nobody has open any more instead of what its
// download had reserved.
func (l *ledger) park(key string, d digest.Digest, reserved, size, used int64, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial -= reserved
	l.closed(key)
	l.forget(key)
	it := &item{key: key, digest: d, size: size, used: used, served: served}
	l.parked[key] = it
	l.partial += size
	l.lru.add(it)
}

// claim turns a parked partial, if there is one, into reserved bytes of the
// download that opened it.
func (l *ledger) claim(key string) (reserved int64, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mine[key]++
	it := l.parked[key]
	if it == nil {
		return 0, false
	}
	l.forget(key)
	l.partial += it.size
	return it.size, it.served
}

// disown releases what a download reserved and forgets its partial.
func (l *ledger) disown(key string, reserved int64) {
	l.mu.Lock()
	l.closed(key)
	l.partial -= reserved
	l.mu.Unlock()
}

// closed is for a partial of this process that it has open no more; l.mu is
// held.
func (l *ledger) closed(key string) {
	if l.mine[key]--; l.mine[key] <= 0 {
		delete(l.mine, key)
	}
}

// isMine reports whether a partial, or the map of one, is counted already.
func (l *ledger) isMine(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key = strings.TrimSuffix(key, mapSuffix)
	return l.mine[key] > 0 || l.parked[key] != nil
}

// counted is what counts already for a partial, or the map of one. A parked one
// may be growing: another process has taken it over.
func (l *ledger) counted(key string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	key = strings.TrimSuffix(key, mapSuffix)
	switch it := l.parked[key]; {
	case l.mine[key] > 0:
		return math.MaxInt64
	case it != nil:
		return it.size
	}
	return 0
}

// touch notes a use and reports whether it is worth a record.
func (l *ledger) touch(d digest.Digest, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.items[d]
	if it == nil {
		return false
	}
	if it.open == 0 {
		l.lru.add(it)
	}
	write := now-it.used >= touchEvery.Milliseconds()
	if write {
		it.used = now
	}
	return write
}

// touchEvery keeps frequent uses out of the index.
const touchEvery = time.Minute

func (l *ledger) forget(key string) {
	if it := l.parked[key]; it != nil {
		delete(l.parked, key)
		l.lru.remove(it)
		l.partial -= it.size
	}
}

func (l *ledger) setForeign(n int64) {
	l.mu.Lock()
	l.foreign = n
	l.mu.Unlock()
}

func (l *ledger) used() int64 { return l.stored + l.partial + l.evicted + l.foreign }

// snapshot writes the index anew: every stored item, least recently used
// first, those that are open last.
func (l *ledger) snapshot() []record {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := make([]record, 0, len(l.items))
	add := func(it *item) {
		records = append(records, record{op: '+', digest: it.digest, size: it.size, print: it.print, used: it.used})
	}
	for _, it := range l.lru.oldestFirst() {
		if !it.partial() {
			add(it)
		}
	}
	for _, it := range l.items {
		if it.open > 0 {
			add(it)
		}
	}
	return records
}

// check returns what is wrong with the books, or "".
func (l *ledger) check() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var stored, parked int64
	idle := len(l.parked)
	for d, it := range l.items {
		stored += it.size
		if it.open == 0 {
			idle++
		}
		switch {
		case it.gone || it.digest != d:
			return "an item is listed that is gone"
		case it.open < 0:
			return "an item was closed more often than opened"
		case l.lru.list.Contains(it.key) != (it.open == 0):
			return "an item is evictable and open, or neither"
		}
	}
	for _, it := range l.parked {
		parked += it.size
	}
	switch {
	case stored != l.stored:
		return "stored is not the sum of the items"
	case parked > l.partial:
		return "parked partials are not counted"
	case idle != l.lru.list.Len():
		return "the lru holds something unknown"
	case l.evicted < 0 || l.partial < 0:
		return "a negative sum"
	}
	return l.lru.check()
}
