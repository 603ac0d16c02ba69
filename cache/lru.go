package cache

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// lru keeps what may be evicted in order of its last use and knows how many
// bytes that is. It sets no limit itself: bytes are counted by the ledger,
// which asks for the oldest.
//
// Invariant, checked by check: bytes is the sum of the sizes in the list.
type lru struct {
	list  *simplelru.LRU[string, *item]
	bytes int64
}

func newLRU() lru {
	// The list's own bound counts entries; ours counts bytes.
	list, err := simplelru.NewLRU[string, *item](math.MaxInt, nil)
	if err != nil {
		panic(err) // only a size below 1 fails
	}
	return lru{list: list}
}

// add makes it the most recently used.
func (l *lru) add(it *item) {
	l.remove(it)
	l.list.Add(it.key, it)
	l.bytes += it.size
}

// remove takes it out and reports whether it was there.
func (l *lru) remove(it *item) bool {
	if old, ok := l.list.Peek(it.key); !ok || old != it {
		return false
	}
	l.list.Remove(it.key)
	l.bytes -= it.size
	return true
}

// removeOldest takes out the least recently used; nil when there is none.
func (l *lru) removeOldest() *item {
	_, it, ok := l.list.RemoveOldest()
	if !ok {
		return nil
	}
	l.bytes -= it.size
	return it
}

// oldestFirst lists the items from the least to the most recently used.
func (l *lru) oldestFirst() []*item { return l.list.Values() }

// check returns what is wrong with the list, or "".
func (l *lru) check() string {
	var sum int64
	for _, it := range l.list.Values() {
		sum += it.size
	}
	if sum != l.bytes {
		return "bytes is not the sum of the sizes"
	}
	return ""
}
