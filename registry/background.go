package registry

import (
	"context"
	"sync"
)

// background owns the work that several callers share (tokens, locations of
// blobs, the probe): it runs under ctx, outlives whoever began it, and ends
// with the client.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool           // guarded by mu
	wg     sync.WaitGroup // Add under mu, and not after closed
}

func newBackground() *background {
	ctx, cancel := context.WithCancel(context.Background())
	return &background{ctx: ctx, cancel: cancel}
}

// begin counts a piece of work in; the returned function counts it out.
func (b *background) begin() (done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return func() {} // ctx is cancelled: the work ends at once
	}
	b.wg.Add(1)
	return b.wg.Done
}

// end cancels the work and waits for it.
func (b *background) end() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
}
