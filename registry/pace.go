package registry

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxPause bounds how long one 429 holds up everybody. Its own operation
	// may wait longer.
	maxPause = time.Minute
	// freely: a pace that has come up to here is none.
	freely rate.Limit = 1000
)

// pacer is the one budget of requests to the registry that all operations
// share. It knows no limit until the first 429, unless the user set one. Then
// nothing is sent before the registry wants to be asked again, and from there on
// requests are spread in time. The pace is what the registry took lately, as a
// mean up to that moment; it doubles every minute, so that a registry that has
// become idle again is soon asked freely.
type pacer struct {
	max rate.Limit // that the user allows; Inf: any
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	bucket *rate.Limiter
	grown  time.Time // when the bucket's limit was last raised
	resume time.Time // nothing is sent before
	pauses int
	taken  tally // requests that were not refused
}

// newPacer returns one that lets perSecond requests go in a second, with 0 any.
func newPacer(perSecond float64, log *slog.Logger) *pacer {
	p := &pacer{max: rate.Limit(perSecond), log: log}
	if perSecond == 0 {
		p.max = rate.Inf
	}
	p.bucket = newBucket(p.max)
	return p
}

// newBucket holds what goes in a second: who asks now and then need not wait.
func newBucket(limit rate.Limit) *rate.Limiter {
	return rate.NewLimiter(limit, max(1, int(min(limit, math.MaxInt32))))
}

// ticket is a request's place in the order of sending.
type ticket struct {
	at    time.Time // when it may be sent
	pause int       // good until the next pause
}

// noPause is that of a ticket that says when to come for a place.
const noPause = -1

// take gives a request that is not to be sent before earliest its place. One
// that could not be sent by then takes none: ok is false. Nor does one that has
// to wait anyway, and for longer than there is a pause: places are given in the
// order of time, as the bucket takes each for the present.
func (p *pacer) take(earliest, by time.Time) (t ticket, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, begin := time.Now(), p.begin()
	if earliest.After(begin.Add(slot)) {
		return ticket{at: earliest, pause: noPause}, !earliest.After(by)
	}
	p.grow(begin)
	place := p.bucket.ReserveN(begin, 1)
	at := begin.Add(place.DelayFrom(begin))
	if at.Before(earliest) {
		at = earliest
	}
	if at.After(by) && at.After(now) {
		place.CancelAt(begin)
		return ticket{}, false
	}
	return ticket{at: at, pause: p.pauses}, true
}

// giveBack lets others have the place of a request that will not be sent.
func (p *pacer) giveBack(t ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.pause != p.pauses {
		return
	}
	// Not Reservation.Cancel: after it the places taken since would still
	// come later.
	p.bucket.ReserveN(p.begin(), -1)
}

// begin is the first moment for which there are places: now, or the end of a
// pause. The caller holds mu.
func (p *pacer) begin() time.Time {
	if now := time.Now(); now.After(p.resume) {
		return now
	}
	return p.resume
}

// send counts a request whose time has come. It has to take a new place when
// it has none yet, or there was a pause since it took this one.
func (p *pacer) send(t ticket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.pause != p.pauses {
		return false
	}
	p.taken.add(time.Now(), 1)
	return true
}

// refused notes a 429 to the request with this ticket, and that the registry
// does not want to be asked before the pause is over.
func (p *pacer) refused(t ticket, pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.taken.add(now, -1)
	if t.pause != p.pauses {
		return // it was on its way before the registry could be spared it
	}
	pause = min(pause, maxPause)
	limit := min(p.max, p.taken.rate(now, pause))
	p.pauses++
	p.resume = now.Add(pause)
	p.bucket, p.grown = newBucket(limit), p.resume
	p.log.Warn("the registry wants fewer requests", "pause", pause.Round(time.Millisecond), "then_per_second", math.Round(float64(limit)*100)/100)
}

// grow raises the limit for the time that has passed since it was last raised.
// The caller holds mu.
func (p *pacer) grow(now time.Time) {
	limit, passed := p.bucket.Limit(), now.Sub(p.grown)
	if limit >= p.max || passed < time.Second {
		return
	}
	limit *= rate.Limit(math.Exp2(passed.Minutes()))
	p.grown = now
	switch {
	case limit >= p.max || limit >= freely:
		p.bucket = newBucket(p.max)
	default:
		p.bucket.SetLimitAt(now, limit)
		p.bucket.SetBurstAt(now, max(1, int(limit)))
	}
}

// tally counts requests of the last minute, which is what Azure counts by, in
// slots of a tenth of a second. The zero value is ready for use.
type tally struct {
	slots [600]int
	last  int64 // the number of the latest slot, since 1970
}

const slot = time.Minute / time.Duration(len(tally{}.slots))

func (c *tally) add(now time.Time, n int) {
	number, slots := now.UnixNano()/int64(slot), int64(len(c.slots))
	if number <= c.last-slots {
		*c = tally{last: number} // the clock was set back, and would not clear them
	}
	for c.last = max(c.last, number-slots); c.last < number; {
		c.last++
		c.slots[c.last%slots] = 0
	}
	c.slots[number%slots] += n
}

// rate returns what a registry takes that refused a request now and wants no
// other during the pause. Nobody knows how far back it counts. But no part of
// the minute and the pause after it was too much for it, and the busiest of
// them tells most.
func (c *tally) rate(now time.Time, pause time.Duration) rate.Limit {
	c.add(now, 0)
	sum, best := 0, 0.0
	for back := range int64(len(c.slots)) {
		sum += c.slots[(c.last-back)%int64(len(c.slots))]
		span := time.Duration(back+1)*slot + pause
		best = max(best, float64(max(1, sum))/span.Seconds())
	}
	return rate.Limit(best)
}
