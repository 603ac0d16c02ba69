package localacr

import (
	"sync"
	"time"
)

// touchedLimit bounds the memory of touched; past it nothing is collected for
// a while.
const touchedLimit = 200_000

// touched remembers which blobs clients have asked about lately. A client that
// heard "yes, it is here" will not upload the blob again, and its manifest
// still has to come.
type touched struct {
	keep time.Duration

	mu    sync.Mutex // guards all below
	times map[string]time.Time
	blind time.Time // until then, everything counts as touched
}

func newTouched(keep time.Duration) *touched {
	return &touched{keep: keep, times: map[string]time.Time{}}
}

func (t *touched) touch(repo, digest string) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.times) >= touchedLimit {
		t.forget(now)
	}
	if len(t.times) >= touchedLimit {
		t.times = map[string]time.Time{}
		t.blind = now.Add(t.keep)
	}
	t.times[string(key(repo, digest))] = now
}

// lately reports whether the blob was touched so that it has to stay.
func (t *touched) lately(repo, digest string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.times[string(key(repo, digest))]
	return now.Before(t.blind) || ok && now.Sub(at) < t.keep
}

// forget drops what is too old to matter. t.mu is held.
func (t *touched) forget(now time.Time) {
	for k, at := range t.times {
		if now.Sub(at) >= t.keep {
			delete(t.times, k)
		}
	}
}
