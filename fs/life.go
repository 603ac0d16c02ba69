package fs

import (
	"context"
	"sync"
	"time"
)

// life is how long a mount lasts: what runs for the mount, and not for one
// operation, ends with it and is waited for.
type life struct {
	ctx context.Context // of such work; ends at unmount
	end context.CancelFunc

	mu      sync.Mutex     // guards what follows
	running sync.WaitGroup // only added to while ctx lasts
}

func newLife() *life {
	l := &life{}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// begin counts a piece of work in; the returned function counts it out. After
// the end it counts nothing: work that heeds ctx is over at once.
func (l *life) begin() (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return func() {}
	}
	l.running.Add(1)
	return l.running.Done
}

// background runs work, unless the end has come.
func (l *life) background(work func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.running.Go(work)
	}
}

// detached runs work and waits for it or for ctx, whichever ends first. Who
// leaves stops waiting, not the work, which ends at limit or with the mount.
func (l *life) detached(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	ended := make(chan error, 1)
	done := l.begin()
	go func() {
		defer done()
		workCtx, cancel := context.WithTimeout(l.ctx, limit)
		defer cancel()
		ended <- work(workCtx)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends all work and waits for it.
func (l *life) close() {
	l.mu.Lock()
	l.end()
	l.mu.Unlock()
	l.running.Wait()
}
