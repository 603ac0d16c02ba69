package fs

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// How long a registry's lists may lag behind a change, and how long whoever is
// still walking may remove what a deletion took along.
const lag = 60 * time.Second

// changes is what this mount did to the items of one listing, laid over its
// snapshots: a thousand deletions must not fetch a thousand lists, and lists
// lag behind changes. Keys are names of tags, digests, or repositories.
//
// The zero value is ready for use.
type changes struct {
	keep bool // for ever: nothing was really done (dry run)

	mu    sync.Mutex // guards what follows
	items map[string]change
	seq   uint64    // moves with every change that is visible
	flags uint64    // moves with every update
	last  time.Time // when something was removed last
}

type change struct {
	at    time.Time
	gone  bool
	took  bool  // it went along with something else; may still be removed
	stamp int64 // the item's last update, by the registry's clock, before it went
	facts *facts
}

// version tells states of the overlay apart.
func (c *changes) version() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq
}

func (c *changes) set(key string, ch change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.facts != nil {
		c.flags++
	} else {
		c.last = ch.at
	}
	c.seq++
	c.put(key, ch)
}

// put keeps a change; c.mu is held.
func (c *changes) put(key string, ch change) {
	if c.items == nil {
		c.items = make(map[string]change)
	}
	c.items[key] = ch
}

// remove notes that an item is gone. stamp is its last update.
func (c *changes) remove(key string, stamp int64) {
	c.set(key, change{at: time.Now(), gone: true, stamp: stamp})
}

// takeAlong notes that an item went with another. Whoever is walking there can
// still remove it.
func (c *changes) takeAlong(key string, stamp int64) {
	c.set(key, change{at: time.Now(), gone: true, took: true, stamp: stamp})
}

// update notes what the registry said after an update. Of two that cross, which
// takes two spellings of a digest or a caller that was killed, the later answer
// counts.
func (c *changes) update(key string, f facts) {
	c.set(key, change{at: time.Now(), facts: &f})
}

// disputed tells whether a list that was asked for after an update of ours has
// other flags than the registry said then: it may lag behind, or someone else may
// have set them since. cautious are f without what either forbids.
func (c *changes) disputed(key string, listed time.Time, f facts) (cautious facts, disputed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.items[key]
	if !ok || ch.facts == nil || c.keep || listed.Before(ch.at) || time.Since(ch.at) > lag || ch.facts.access == f.access {
		return f, false
	}
	f.access &= ch.facts.access
	return f, true
}

// flagsSet tells states of the items' flags apart.
func (c *changes) flagsSet() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flags
}

// vanish notes items that listings no longer have. They may have gone with one
// that this mount removed, and then they can still be removed too; but nobody
// said so, and what is learned of them counts.
func (c *changes) vanish(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		ch, known := c.items[key]
		switch {
		case !known:
			ch.at = time.Now()
		case ch.gone:
			continue
		}
		ch.took = true
		c.put(key, ch)
	}
}

// ghost tells whether an item that is gone may still be removed. A walk may take
// longer than the lag: while it removes one item after the other, the ghosts
// stay.
func (c *changes) ghost(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.items[key]
	return ok && ch.took && (c.keep || time.Since(c.last) < lag || time.Since(ch.at) < lag)
}

// lay ghosts to rest: it was removed.
func (c *changes) lay(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.items[key]; ok {
		ch.took = false
		c.items[key] = ch
	}
}

// recently counts what went within the lag.
func (c *changes) recently() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, ch := range c.items {
		if ch.gone && (c.keep || time.Since(ch.at) < lag) {
			n++
		}
	}
	return n
}

// apply lays the change of one item, if any, over what was learned of it at a
// moment. gone is true where the item is no more.
//
// What was learned after a deletion of ours is believed when its last update is
// newer (it was pushed again), or when the registry keeps no times; else only
// once lists have had the time to catch up.
func (c *changes) apply(key string, learned time.Time, f facts) (now facts, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.laid(key, learned, f)
}

// without are the names that apply does not call gone, and the version of the
// changes of which that is true.
func (c *changes) without(names []string, learned time.Time) (left []string, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, gone := c.laid(name, learned, facts{})
		return gone
	}), c.seq
}

// laid is apply, with c.mu held.
func (c *changes) laid(key string, learned time.Time, f facts) (now facts, gone bool) {
	ch, ok := c.items[key]
	switch {
	case !ok, !ch.gone && ch.facts == nil:
		return f, false
	case !ch.gone:
		if c.keep || learned.Before(ch.at) {
			return *ch.facts, false
		}
		return f, false
	case c.keep, learned.Before(ch.at):
		return f, true
	case f.updated == 0, f.updated > ch.stamp:
		return f, false
	}
	return f, time.Since(ch.at) < lag
}

// lately tells whether an item was removed so short a while ago that a list may
// still have it. Of a dry run none may: there, what is gone stays gone.
func (c *changes) lately(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.items[key]
	return ok && ch.gone && !c.keep && time.Since(ch.at) < lag
}

// went tells whether an item was removed, while whoever removes one after the
// other may still be walking there. In a dry run nothing went.
func (c *changes) went(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.items[key].gone && !c.keep && time.Since(c.last) < lag
}

// len counts the items that were changed.
func (c *changes) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

// empty tells whether there is nothing to apply.
func (c *changes) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items) == 0
}

// prune drops what snapshots from this moment on no longer need, once lists have
// had the time to catch up.
func (c *changes) prune(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep {
		return
	}
	maps.DeleteFunc(c.items, func(_ string, ch change) bool {
		walking := ch.took && time.Since(c.last) <= lag
		return !walking && ch.at.Before(at) && time.Since(ch.at) > lag
	})
}
