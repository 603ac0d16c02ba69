package localacr

import (
	"io"
	"sync"
	"time"
)

// lanes are the connections that requests are on right now, when bandwidth is
// limited. The requests of one connection share its two paces, also when they
// run beside each other, as those of HTTP/2 do.
type lanes struct {
	rate int64 // bytes per second and direction; 0: without limit

	mu   sync.Mutex // guards open
	open map[string]*lane
}

// lane is a connection, known by the client's address and port.
type lane struct {
	requests int // guarded by lanes.mu
	in, out  pace
}

func newLanes(rate int64) *lanes { return &lanes{rate: rate, open: map[string]*lane{}} }

// enter returns the lane of a request from remote, and what to call at its
// end. Without a limit the lane is nil.
func (l *lanes) enter(remote string) (*lane, func()) {
	if l.rate == 0 {
		return nil, func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.open[remote]
	if one == nil {
		one = newLane(l.rate)
		l.open[remote] = one
	}
	one.requests++
	return one, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.requests--; one.requests == 0 {
			delete(l.open, remote)
		}
	}
}

func newLane(rate int64) *lane { return &lane{in: pace{rate: rate}, out: pace{rate: rate}} }

// pace spreads bytes over time, whoever they are from.
type pace struct {
	rate int64 // bytes per second

	mu   sync.Mutex // guards free
	free time.Time  // when what was let through has passed
}

// beat is how much time's worth of bytes goes at once, so that the stream is
// even, and how much a late comer may make up for.
const beat = 50 * time.Millisecond

// step is how many bytes may go at once.
func (p *pace) step() int64 { return max(p.rate/int64(time.Second/beat), 1) }

// due accounts for n more bytes and returns how long to wait for their turn.
func (p *pace) due(n int64) time.Duration {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.free.IsZero():
		p.free = now
	case p.free.Before(now.Add(-beat)):
		p.free = now.Add(-beat)
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return p.free.Sub(now)
}

// pacedBody is a request's body at the connection's bandwidth.
type pacedBody struct {
	x    *exchange
	r    io.Reader
	pace *pace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.pace.step())])
	if !b.x.wait(b.x.r.Context(), b.pace.due(int64(n))) {
		return n, firstError(b.x.r.Context().Err(), errClosed)
	}
	return n, err
}
