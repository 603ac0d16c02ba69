package fs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// How long a failed listing is answered from memory, so that a walk over a
// registry that is down does not wait for every timeout again.
const failureMemory = time.Second

// A listing keeps the latest snapshot of something that the registry lists:
// the catalog, a repository's tags, its manifests. A snapshot is complete or
// it does not exist, is fetched once for all who ask, and is believed for the
// TTL, counted from the moment its first page was asked for.
type listing[T any] struct {
	fetch  func(ctx context.Context) (T, error)
	weigh  func(T) int // entries, for the bound on what all listings hold
	kept   func()      // called when latest has become another; may be nil
	flight flights[*snapshot[T]]
	bound  *retention
	ttl    time.Duration
	stale  time.Duration // how much longer it may serve when the registry fails

	mu     sync.Mutex // guards what follows
	latest *snapshot[T]
	failed error
	until  time.Time // failed is remembered until then
	epoch  int       // moves with every drop, and when a fetch is too old; one from before is not kept
	asked  time.Time // when the latest fetch began
	seq    uint64

	vain atomic.Int64 // when it was last fetched for lacks and had the item; nanoseconds since the epoch
}

// snapshot is one complete answer. value is never changed afterwards.
type snapshot[T any] struct {
	value T
	at    time.Time
	seq   uint64 // tells snapshots of one listing apart
}

// fresh is the latest snapshot if it may still be believed, else nil. No I/O.
func (l *listing[T]) fresh() *snapshot[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest != nil && time.Since(l.latest.at) < l.ttl {
		return l.latest
	}
	return nil
}

// last is the latest snapshot, however old, or nil.
func (l *listing[T]) last() *snapshot[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}

// get returns a snapshot that may be believed, fetching it when there is none.
func (l *listing[T]) get(ctx context.Context) (*snapshot[T], error) {
	l.mu.Lock()
	if l.latest != nil && time.Since(l.latest.at) < l.ttl {
		defer l.mu.Unlock()
		return l.latest, nil
	}
	if l.failed != nil && time.Now().Before(l.until) {
		defer l.mu.Unlock()
		return l.orStale(l.failed)
	}
	l.mu.Unlock()

	s, err := l.flight.do(ctx, "", l.refresh)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.orStale(err)
	}
	return s, nil
}

// since is get for a snapshot from after a moment. When none can be had now, that
// is an error, but the latest one stays, for those who may be served an outdated
// one.
func (l *listing[T]) since(ctx context.Context, moment time.Time) (*snapshot[T], error) {
	if last := l.last(); last == nil || last.at.After(moment) {
		if s, err := l.get(ctx); err != nil || s.at.After(moment) {
			return s, err
		}
	}
	l.mu.Lock()
	switch {
	case !l.asked.After(moment):
		l.flight.forget("")
		l.epoch++
		l.asked = time.Now()
	case l.failed != nil && time.Now().Before(l.until):
		defer l.mu.Unlock()
		return nil, l.failed
	}
	l.mu.Unlock()
	return l.flight.do(ctx, "", l.refresh)
}

// refresh fetches a snapshot and keeps it, unless a drop came in between.
func (l *listing[T]) refresh(ctx context.Context) (*snapshot[T], error) {
	at := time.Now()
	l.mu.Lock()
	epoch := l.epoch
	l.asked = at
	l.mu.Unlock()
	value, err := l.fetch(ctx)

	l.mu.Lock()
	l.seq++
	s := &snapshot[T]{value: value, at: at, seq: l.seq}
	kept := l.epoch == epoch
	switch {
	case !kept:
	case err != nil:
		l.failed, l.until = err, time.Now().Add(failureMemory)
		if errors.Is(err, errNotFound) {
			l.latest = nil // an answer, against which nothing older is believed
		}
	default:
		l.latest, l.failed = s, nil
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if kept {
		l.bound.hold(l, l.weigh(value))
		if l.kept != nil {
			l.kept()
		}
	}
	return s, nil
}

// orStale answers a failure with an outdated snapshot where that is allowed:
// only when the registry did not answer, never against an answer. l.mu is held.
func (l *listing[T]) orStale(err error) (*snapshot[T], error) {
	if unanswered(err) && l.latest != nil && time.Since(l.latest.at) < l.ttl+l.stale {
		return l.latest, nil
	}
	return nil, err
}

// drop forgets everything. A fetch under way still answers those who wait for
// it, and nobody after them.
func (l *listing[T]) drop() {
	l.flight.forget("")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.latest, l.failed = nil, nil
}
