package registry

import (
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How long a login that was refused is not tried again: a program that reads a
// thousand files would have a thousand refused, and accounts be locked by it.
// A login that was put right meanwhile is seen within refusedMost.
const (
	refusedFirst = time.Second
	refusedMost  = 8 * time.Second
)

// refusals remembers the logins that were refused, by what they were for.
type refusals struct{ known *lru.Cache[string, refused] }

type refused struct {
	err   error
	pause time.Duration
	until time.Time
}

func newRefusals() refusals { return refusals{newLRU[string, refused](maxTokens)} }

// recent is the refusal of a moment ago, nil when it may be tried again.
func (r refusals) recent(key string) error {
	if last, ok := r.known.Get(key); ok && time.Now().Before(last.until) {
		return last.err
	}
	return nil
}

// note takes down how a login ended. Each refusal in a row doubles the pause.
func (r refusals) note(key string, err error) {
	if !errors.Is(err, ErrDenied) {
		r.known.Remove(key)
		return
	}
	last, _ := r.known.Get(key)
	pause := min(max(refusedFirst, 2*last.pause), refusedMost)
	r.known.Add(key, refused{err, pause, time.Now().Add(pause)})
}
