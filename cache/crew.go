package cache

import "sync"

// crew is the goroutines of a cache. None starts after close, which waits for
// all.
type crew struct {
	mu     sync.Mutex // guards what follows
	count  int
	closed bool
	gone   chan struct{} // closed when the last left after close
}

func newCrew() *crew { return &crew{gone: make(chan struct{})} }

// enter counts the caller in, until leave. It reports false after close.
func (c *crew) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.count++
	return true
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count--; c.closed && c.count == 0 {
		close(c.gone)
	}
}

// start runs work in a goroutine and reports whether it did.
func (c *crew) start(work func()) bool {
	if !c.enter() {
		return false
	}
	go func() {
		defer c.leave()
		work()
	}()
	return true
}

// close lets nobody in any more and waits. It reports false when it had been
// called before.
func (c *crew) close() bool {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	if first && c.count == 0 {
		close(c.gone)
	}
	c.mu.Unlock()
	<-c.gone
	return first
}
