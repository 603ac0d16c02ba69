package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// paced returns a client, in a bubble of its own time, of a plain registry that
// answers at once.
func paced(t *testing.T, configure func(*Config), answer func(*http.Request) *http.Response) *Client {
	t.Helper()
	cfg := Config{Endpoint: "http://127.0.0.1:1", Transport: transport(answer)}
	configure(&cfg)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// transport answers all but the probe of the dialect.
type transport func(*http.Request) *http.Response

func (f transport) Do(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Path == "/v2/":
		return canned(http.StatusOK, http.Header{"Docker-Distribution-Api-Version": {"registry/2.0"}}), nil
	case !strings.HasSuffix(req.URL.Path, "/tags/list"):
		return canned(http.StatusNotFound, nil), nil
	}
	return f(req), nil
}

func canned(status int, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(`{"tags":[]}`))}
}

// window is a registry that takes so many requests in each span of time, as
// Azure's do in each minute. It is called in one bubble.
type window struct {
	most int
	span time.Duration

	mu             sync.Mutex
	began          time.Time
	taken, refused int
}

func (w *window) answer(*http.Request) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.began) >= w.span {
		w.began, w.taken = time.Now(), 0
	}
	if w.taken == w.most {
		w.refused++
		left := w.span - time.Since(w.began)
		return canned(http.StatusTooManyRequests, http.Header{"Retry-After": {strconv.Itoa(int((left + time.Second - 1) / time.Second))}})
	}
	w.taken++
	return canned(http.StatusOK, nil)
}

// run lets clients ask until all have asked often enough, and returns how long
// that takes.
func run(t *testing.T, c *Client, clients, each int) time.Duration {
	t.Helper()
	start := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for n := range each {
				if err := listTags(t, c, fmt.Sprint("r", n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

// Sixteen at once share what the registry takes in a minute: nearly all of it is
// used, few requests are refused, and no operation fails.
func TestThrottledRequestsAreSharedOut(t *testing.T) {
	for _, w := range []*window{{most: 1000, span: time.Minute}, {most: 50, span: time.Second}} {
		t.Run(w.span.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := paced(t, func(cfg *Config) { cfg.ThrottleWait, cfg.MetadataTimeout = 5*time.Minute, 5*time.Minute }, w.answer)
				took := run(t, c, 16, 600)
				ideal := time.Duration(9600/w.most) * w.span
				t.Logf("9600 requests took %v, %v at best; %d were refused", took, ideal, w.refused)
				if took > ideal*3/2 {
					t.Errorf("took %v, want at most %v", took, ideal*3/2)
				}
				if w.refused > 96*3 {
					t.Errorf("%d of 9600 requests were refused", w.refused)
				}
			})
		})
	}
}

func TestRequestRateIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		perSecond := map[int64]int{}
		var mu sync.Mutex
		c := paced(t, func(cfg *Config) { cfg.RequestRate = 20 }, func(*http.Request) *http.Response {
			mu.Lock()
			defer mu.Unlock()
			perSecond[time.Now().Unix()]++
			return canned(http.StatusOK, nil)
		})
		took := run(t, c, 8, 50)
		if want := 400 / 20 * time.Second; took < want-2*time.Second || took > want+time.Second {
			t.Errorf("400 requests at 20/s took %v", took)
		}
		for second, n := range perSecond {
			if n > 2*20 { // a second's worth may have been saved up before
				t.Errorf("%d requests in second %d", n, second)
			}
		}
	})
}

// A rate that is high is one all the same.
func TestHighRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 2000
		p := newPacer(perSecond, slog.New(slog.DiscardHandler))
		soon := 0
		for range 10 * perSecond {
			if tk, _ := p.take(time.Now(), time.Now().Add(time.Hour)); time.Until(tk.at) < time.Second {
				soon++
			}
		}
		if soon > 2*perSecond {
			t.Errorf("%d requests may go within a second", soon)
		}
	})
}

// A registry that was throttled once and then has room is asked freely again.
func TestPaceGrowsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		c := paced(t, func(*Config) {}, func(*http.Request) *http.Response {
			if busy {
				busy = false
				return canned(http.StatusTooManyRequests, http.Header{"Retry-After": {"10"}})
			}
			return canned(http.StatusOK, nil)
		})
		if took := run(t, c, 1, 1); took != 10*time.Second {
			t.Errorf("the first answer came after %v", took)
		}
		time.Sleep(15 * time.Minute)
		if took := run(t, c, 4, 1000); took != 0 {
			t.Errorf("4000 requests a quarter of an hour later took %v", took)
		}
	})
}

// Who cannot wait that long is told at once, and the registry is not asked.
func TestNobodyWaitsForATurnInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := paced(t, func(cfg *Config) { cfg.ThrottleWait = 5 * time.Second }, func(*http.Request) *http.Response {
			asked++
			return canned(http.StatusTooManyRequests, http.Header{"Retry-After": {"40"}})
		})
		start := time.Now()
		for range 10 {
			if err := listTags(t, c, "r"); !errors.Is(err, ErrThrottled) {
				t.Errorf("got %v, want %v", err, ErrThrottled)
			}
		}
		if took := time.Since(start); took > 0 || asked != 1 {
			t.Errorf("ten operations took %v and asked %d times, want 0s and once", took, asked)
		}
		time.Sleep(41 * time.Second)
		if listTags(t, c, "r"); asked != 2 {
			t.Errorf("asked %d times after the pause, want 2", asked)
		}
	})
}

// The pace is what the registry took, whether it counts by second or by minute,
// and whatever there was before.
func TestPaceIsWhatTheRegistryTook(t *testing.T) {
	for _, row := range []struct {
		name   string
		seldom int // requests, one each second
		burst  int // in a tenth of a second
		pause  time.Duration
		lo, hi rate.Limit
	}{
		{"a minute's worth at once", 0, 1000, 59 * time.Second, 15, 17},
		{"a second's worth at once", 0, 50, time.Second, 40, 50},
		{"a second's worth, seldom before", 30, 50, time.Second, 40, 50},
		{"the rest of a minute's worth", 30, 970, 29 * time.Second, 15, 34},
		{"nothing", 0, 1, time.Second, 0.5, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPacer(0, slog.New(slog.DiscardHandler))
				ask := func() ticket {
					tk, ok := p.take(time.Now(), time.Now())
					if !ok || !p.send(tk) {
						t.Fatal("it has to wait before anything was refused")
					}
					return tk
				}
				for range row.seldom {
					ask()
					time.Sleep(time.Second)
				}
				for range row.burst {
					ask()
				}
				p.refused(ask(), row.pause)
				if got := p.bucket.Limit(); got < row.lo || got > row.hi {
					t.Errorf("%v a second, want %v to %v", got, row.lo, row.hi)
				}
			})
		})
	}
}

// Whatever a registry refuses, and however it says so, a pace is between one
// request in a pause and the limit.
func TestPaceStaysWithinReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(100, slog.New(slog.DiscardHandler))
		for range 10_000 {
			tk, ok := p.take(time.Now(), time.Now().Add(time.Hour))
			if !ok {
				t.Fatal("no turn")
			}
			time.Sleep(time.Until(tk.at))
			if !p.send(tk) {
				t.Fatal("nobody else is there to make a pause")
			}
			if rand.IntN(3) == 0 {
				p.refused(tk, time.Duration(rand.Int64N(int64(2*time.Hour))))
			}
			if limit := p.bucket.Limit(); limit < rate.Limit(1/(2*maxPause.Seconds())) || limit > 100 {
				t.Fatalf("%v requests in a second", limit)
			}
		}
	})
}

// A repetition that waits for a while does not give others its time as well.
func TestRepetitionsCountInTheRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 20
		sent := map[int64]int{}
		var mu sync.Mutex
		n := 0
		c := paced(t, func(cfg *Config) { cfg.RequestRate = perSecond }, func(*http.Request) *http.Response {
			mu.Lock()
			defer mu.Unlock()
			sent[time.Now().Unix()]++
			if n++; n%5 == 0 {
				return canned(http.StatusServiceUnavailable, http.Header{"Retry-After": {"3"}})
			}
			return canned(http.StatusOK, nil)
		})
		took := run(t, c, 16, 50)
		if want := time.Duration(n/perSecond-1) * time.Second; took < want {
			t.Errorf("%d requests took %v, want %v at least", n, took, want)
		}
		for second, n := range sent {
			if n > 2*perSecond { // a second's worth may have been saved up before
				t.Errorf("%d requests in second %d", n, second)
			}
		}
	})
}

// Who stops waiting for a turn leaves it to the others.
func TestTurnOfWhoLeftIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := paced(t, func(cfg *Config) { cfg.RequestRate = 1 }, func(*http.Request) *http.Response { return canned(http.StatusOK, nil) })
		if err := listTags(t, c, "r"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for n := range 25 {
			waiting.Go(func() {
				if _, err := collect(c.Tags(ctx, fmt.Sprint("r", n), ListOptions{})); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want %v", err, context.Canceled)
				}
			})
		}
		synctest.Wait()
		cancel()
		waiting.Wait()
		start := time.Now()
		if err := listTags(t, c, "r"); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("the next request was sent after %v", took)
		}
	})
}

// A clock that is set back does not make a minute's count that of hours.
func TestTallySurvivesAClockThatIsSetBack(t *testing.T) {
	var c tally
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	c.add(now, 1)
	now = now.Add(-6 * time.Hour)
	for range 3600 { // an hour of one a second
		c.add(now, 1)
		now = now.Add(time.Second)
	}
	if got := c.rate(now, time.Second); got > 2 {
		t.Errorf("%v a second, want about 1", got)
	}
}
