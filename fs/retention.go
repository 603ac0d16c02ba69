package fs

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// How many entries all snapshots of a mount may hold together. At some 250
// bytes each this is 256 MiB at the very most; a single listing larger than
// that is kept alone while it is in use.
const maxEntries = 1 << 20

// retention bounds what all listings of a mount keep: when together they hold
// too many entries, those that were fetched longest ago are dropped.
type retention struct {
	limit int

	mu      sync.Mutex // guards what follows
	total   int
	weights *simplelru.LRU[dropper, int]
}

type dropper interface{ drop() }

func newRetention(limit int) *retention {
	// Bounded by weight, not by number: the LRU only keeps the order.
	weights, _ := simplelru.NewLRU[dropper, int](math.MaxInt, nil)
	return &retention{limit: limit, weights: weights}
}

// hold notes that l now holds so many entries, and drops others if need be.
func (r *retention) hold(l dropper, entries int) {
	var dropped []dropper
	r.mu.Lock()
	if old, ok := r.weights.Peek(l); ok {
		r.total -= old
	}
	r.weights.Add(l, entries)
	r.total += entries
	for r.total > r.limit && r.weights.Len() > 1 {
		oldest, weight, _ := r.weights.RemoveOldest()
		r.total -= weight
		dropped = append(dropped, oldest)
	}
	r.mu.Unlock()
	for _, d := range dropped {
		d.drop()
	}
}
