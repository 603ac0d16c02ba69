package localacr

import (
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// past has the metadata as it was a while ago, for lists that lag behind what
// they list (Config.ListLag), as ACR's may.
//
// Before each commit it opens a reader, which sees the database as it was until
// then, and keeps that one as long as a list may have to look like it. So each
// reader ends by itself: a database that outgrows its mapping waits for all of
// them.
type past struct {
	db  *bolt.DB
	lag time.Duration

	mu     sync.Mutex // guards states
	states []*state   // the oldest first
}

// state is the database as it was until a moment.
type state struct {
	until time.Time
	end   *time.Timer

	mu sync.Mutex // guards tx: readers are for one goroutine
	tx *bolt.Tx   // nil: ended
}

// statesLimit bounds how many commits are looked back. Past it, lists lag less.
const statesLimit = 4096

// before opens a reader before a commit. The caller calls keep after it, with
// the moment from which on the commit can be seen. Without a lag nothing is
// kept.
func (p *past) before() (keep func(until time.Time)) {
	nothing := func(time.Time) {}
	if p.lag == 0 {
		return nothing
	}
	tx, err := p.db.Begin(false)
	if err != nil {
		return nothing // closed
	}
	s := &state{tx: tx}
	s.end = time.AfterFunc(p.lag, func() { p.forget(s) })
	return func(until time.Time) {
		if !s.end.Stop() {
			return // the commit took longer than the lag
		}
		s.until = until
		var surplus *state
		p.mu.Lock()
		p.states = append(p.states, s)
		if len(p.states) > statesLimit {
			surplus = p.states[0]
		}
		p.mu.Unlock()
		s.end.Reset(time.Until(until.Add(p.lag)))
		if surplus != nil {
			surplus.end.Stop()
			p.forget(surplus)
		}
	}
}

// view runs f on the metadata as it was a lag ago. ok is false if nothing has
// changed since then.
func (p *past) view(f func(view) error) (ok bool, err error) {
	then := time.Now().Add(-p.lag)
	p.mu.Lock()
	var found *state
	for _, s := range p.states {
		if s.until.After(then) {
			found = s
			break
		}
	}
	p.mu.Unlock()
	if found == nil {
		return false, nil
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	if found.tx == nil {
		return false, nil // it has just become too old
	}
	return true, f(view{found.tx})
}

// forget ends a reader.
func (p *past) forget(s *state) {
	p.mu.Lock()
	for i := range p.states {
		if p.states[i] == s {
			p.states = append(p.states[:i:i], p.states[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx != nil {
		s.tx.Rollback()
		s.tx = nil
	}
}

// close ends all readers, after the last commit.
func (p *past) close() {
	p.mu.Lock()
	states := p.states
	p.mu.Unlock()
	for _, s := range states {
		s.end.Stop()
		p.forget(s)
	}
}
