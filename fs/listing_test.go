package fs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// counted is a listing whose fetch counts, takes a second and fails on demand.
type counted struct {
	*listing[int]
	fetches atomic.Int64
	fail    atomic.Pointer[error]
}

func newCounted(t *testing.T, ttl, stale time.Duration) *counted {
	c := &counted{}
	c.listing = &listing[int]{
		fetch: func(ctx context.Context) (int, error) {
			n := int(c.fetches.Add(1))
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			if err := c.fail.Load(); err != nil {
				return 0, *err
			}
			return n, nil
		},
		weigh: func(int) int { return 1 },
		bound: newRetention(10),
		ttl:   ttl,
		stale: stale,
	}
	c.flight.life = newLife()
	t.Cleanup(c.flight.life.close)
	return c
}

func (c *counted) want(t *testing.T, value int, err error) {
	t.Helper()
	s, got := c.get(t.Context())
	if !errors.Is(got, err) || err == nil && (got != nil || s.value != value) {
		t.Errorf("get = %+v, %v; want %d, %v", s, got, value, err)
	}
}

// age has the latest snapshot of a listing, if any, be older.
func age[T any](l *listing[T], by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest == nil {
		return
	}
	older := *l.latest
	older.at = older.at.Add(-by)
	l.latest = &older
}

// TestFailureIsRememberedForThoseWhoWantItFresh, too: a thousand removals in a row
// must not wait for every timeout.
func TestFailureIsRememberedForThoseWhoWantItFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, time.Hour, 0)
		c.want(t, 1, nil)
		time.Sleep(time.Minute)
		c.fail.Store(&registry.ErrUnavailable)
		for range 5 {
			if _, err := c.since(t.Context(), time.Now().Add(-liveTrust)); !errors.Is(err, registry.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		}
		if n := c.fetches.Load(); n != 2 {
			t.Errorf("%d fetches, want the first and one that failed", n)
		}
		if c.last() == nil {
			t.Error("what may be served outdated is forgotten")
		}
	})
}

// TestAnswerThatItIsGoneIsBelieved, and nothing older against it.
func TestAnswerThatItIsGoneIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, time.Hour, time.Hour)
		c.want(t, 1, nil)
		time.Sleep(time.Minute)
		gone := errNotFound
		c.fail.Store(&gone)
		if _, err := c.since(t.Context(), time.Now()); !errors.Is(err, errNotFound) {
			t.Errorf("got %v, want errNotFound", err)
		}
		if c.fresh() != nil {
			t.Error("the listing from before is believed")
		}
	})
}

func TestListingIsFetchedOnceForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, 10*time.Second, 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { c.want(t, 1, nil) })
		}
		all.Wait()
		c.want(t, 1, nil)
		if n := c.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestListingIsBelievedForTheTTLFromItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, 10*time.Second, 0)
		c.want(t, 1, nil) // took one second of the ten
		time.Sleep(8999 * time.Millisecond)
		c.want(t, 1, nil)
		time.Sleep(2 * time.Millisecond)
		c.want(t, 2, nil)
	})
}

func TestFailedListingIsRememberedBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, 10*time.Second, 0)
		down := error(registry.ErrUnavailable)
		c.fail.Store(&down)
		c.want(t, 0, registry.ErrUnavailable)
		c.want(t, 0, registry.ErrUnavailable)
		if n := c.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
		c.fail.Store(nil)
		time.Sleep(failureMemory)
		c.want(t, 2, nil)
	})
}

func TestStaleListingServesAnOutageAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, 10*time.Second, 20*time.Second)
		c.want(t, 1, nil)
		time.Sleep(12 * time.Second)
		for _, row := range []struct {
			err  error
			want error
		}{
			{registry.ErrUnavailable, nil},
			{registry.ErrTimeout, nil},
			{registry.ErrDenied, registry.ErrDenied},
			{registry.ErrNotFound, registry.ErrNotFound},
		} {
			c.fail.Store(&row.err)
			c.want(t, 1, row.want)
			time.Sleep(failureMemory)
		}
		down := error(registry.ErrUnavailable)
		c.fail.Store(&down)
		time.Sleep(20 * time.Second)
		c.want(t, 0, registry.ErrUnavailable)
	})
}

func TestDroppedListingIsNotBelievedEvenWhileItIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, time.Hour, 0)
		var early sync.WaitGroup
		early.Go(func() { c.want(t, 1, nil) })
		time.Sleep(500 * time.Millisecond)
		c.drop()
		c.want(t, 2, nil)
		early.Wait()
		c.want(t, 2, nil)
	})
}

func TestListingSinceAMomentIsSharedByThoseWhoAskAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, time.Hour, 0)
		since := func(value int) {
			t.Helper()
			if s, err := c.since(t.Context(), time.Now()); err != nil || s.value != value {
				t.Errorf("since = %+v, %v; want %d", s, err, value)
			}
		}
		early := make(chan struct{})
		go func() {
			defer close(early)
			c.want(t, 1, nil)
		}()
		time.Sleep(500 * time.Millisecond)
		since(2) // not what is under way
		<-early
		c.want(t, 2, nil)
		moment := time.Now()
		time.Sleep(time.Second)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if s, err := c.since(t.Context(), moment); err != nil || s.value != 3 {
					t.Errorf("since = %+v, %v; want 3", s, err)
				}
			})
		}
		all.Wait()
		c.want(t, 3, nil)
	})
}

// TestListingThatCannotBeRenewedStays for those who may be served an outdated one,
// and is no answer to who asks for a newer one.
func TestListingThatCannotBeRenewedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, 10*time.Second, time.Hour)
		c.want(t, 1, nil)
		time.Sleep(time.Minute)
		down := error(registry.ErrUnavailable)
		c.fail.Store(&down)
		if s, err := c.since(t.Context(), time.Now()); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("since = %+v, %v; want %v", s, err, down)
		}
		c.want(t, 1, nil)
	})
}

func TestWaitingForAListingEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, time.Hour, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("get = %v, want the caller's own end", err)
		}
		c.want(t, 1, nil) // the work went on
		if n := c.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestRetentionDropsTheOldestListings(t *testing.T) {
	r := newRetention(100)
	var dropped []int
	hold := func(i, weight int) dropper {
		d := &droppable{func() { dropped = append(dropped, i) }}
		r.hold(d, weight)
		return d
	}
	first := hold(1, 40)
	hold(2, 40)
	r.hold(first, 50) // fetched again: now the youngest
	hold(3, 30)
	if len(dropped) != 1 || dropped[0] != 2 {
		t.Errorf("dropped %v, want [2]", dropped)
	}
	hold(4, 1000) // larger than all together: kept alone
	if len(dropped) != 3 || r.total != 1000 {
		t.Errorf("dropped %v with %d entries left, want all but the last", dropped, r.total)
	}
}

type droppable struct{ f func() }

func (d *droppable) drop() { d.f() }
