package fs

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// outageMemory is how long a registry that did not answer is not asked again:
// a walk over a dead registry must not wait for every timeout anew, and what is
// cached is answered at once.
const outageMemory = 5 * time.Second

// outage remembers that the registry did not answer anything. The zero value is
// a registry that does.
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
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case silent(err):
		o.err, o.until = err, time.Now().Add(outageMemory)
	case err == nil:
		o.err = nil
	}
	return err
}

// known is the remembered failure, nil when the registry may be asked. It says
// that it was of another question.
func (o *outage) known() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil || !time.Now().Before(o.until) {
		return nil
	}
	return fmt.Errorf("not asked, as another question had no answer a moment ago: %w", o.err)
}

// silent tells whether nobody answered, so that any other question would have no
// answer either. A fault of the server or an answer that cannot be read is of one
// item, which may be all that is wrong.
func silent(err error) bool {
	var failed *registry.Error
	return errors.As(err, &failed) && failed.Silent
}

// unanswered tells whether an error leaves the question open, by silence or by an
// answer of no use: then what was known before is the best there is. Against
// any other answer nothing older is believed.
func unanswered(err error) bool {
	return errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrTimeout) || errors.Is(err, registry.ErrThrottled)
}
