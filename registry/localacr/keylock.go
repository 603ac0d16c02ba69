package localacr

import (
	"context"
	"sync"
)

// keylock gives one caller at a time the right to a name: an upload session,
// or a blob file that is just coming or going. Only its small table is under a
// mutex; who waits, waits for the one name.
type keylock struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	waiting int
	free    chan struct{} // holds one token while nobody has the right
}

// lock waits for the right to name. The caller returns it by calling unlock.
func (l *keylock) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*turn{}
	}
	t := l.held[name]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		l.held[name] = t
	}
	t.waiting++
	l.mu.Unlock()

	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; l.leave(name, t) }, nil
	case <-ctx.Done():
		l.leave(name, t)
		return nil, ctx.Err()
	}
}

func (l *keylock) leave(name string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.waiting--
	if t.waiting == 0 {
		delete(l.held, name)
	}
}
