package fs

import (
	"errors"
	"sync"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// outageMemory is how long a registry that did not answer is not asked again:
// a walk over a dead registry must not wait for every timeout anew, and what is
// cached is answered at once.
const outageMemory = 5 * time.Second

// outage remembers that the registry did not answer. The zero value is a
// registry that does.
type outage struct {
	mu    sync.Mutex // guards what follows
	err   error
	until time.Time
}

// ask asks the registry, unless it is known not to answer.
func (o *outage) ask(question func() error) error {
	if err := o.known(); err != nil {
		return err
	}
	err := question()
	var answer *registry.Error
	silent := errors.As(err, &answer) && answer.Status == 0 &&
		(errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrTimeout))
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case silent:
		o.err, o.until = err, time.Now().Add(outageMemory)
	case err == nil:
		o.err = nil
	}
	return err
}

// known is the remembered failure, nil when the registry may be asked.
func (o *outage) known() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(o.until) {
		return o.err
	}
	return nil
}

// unanswered tells whether an error means that the registry gave no answer,
// rather than that its answer was no.
func unanswered(err error) bool {
	return errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrTimeout) || errors.Is(err, registry.ErrThrottled)
}
