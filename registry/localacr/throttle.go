package localacr

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// throttle counts the requests of a span of time and refuses those beyond its
// measure until the next span. With most 0 it refuses nothing.
type throttle struct {
	most int
	span time.Duration

	mu    sync.Mutex // guards what follows
	since time.Time
	taken int
}

// refuse takes in one more request. When it is one too many, it returns the
// time until the next span, else 0.
func (t *throttle) refuse(now time.Time) (wait time.Duration) {
	if t.most == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= t.span {
		t.since, t.taken = now, 0
	}
	if t.taken == t.most {
		return t.since.Add(t.span).Sub(now)
	}
	t.taken++
	return 0
}

// withinLimits answers a request that is one too many. Storage is another
// service, with other limits.
func (x *exchange) withinLimits() bool {
	if x.endpoint == EndpointStorage {
		return true
	}
	wait := x.throttle.refuse(time.Now())
	if wait == 0 {
		return true
	}
	x.commonHeaders(reading)
	x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	x.fail(failed(http.StatusTooManyRequests))
	return false
}
