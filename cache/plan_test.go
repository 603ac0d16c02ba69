package cache

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestCursorsTellSequentialFromRandom(t *testing.T) {
	var c cursors
	// The kernel's read-ahead: several reads at once, not in order.
	order := []int64{0, 2, 1, 3, 5, 4, 7, 6}
	var run int64
	for _, i := range order {
		run = c.note(i<<17, 128<<10)
	}
	if run < 6<<17 {
		t.Errorf("eight reads in a row are a run of %d", run)
	}
	// A random reader behind the same handle does not disturb it.
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		if run := c.note(1<<32+rng.Int64N(1<<32), 4096); run > 3*4096 {
			t.Errorf("a random read is in a run of %d", run)
		}
		c.note(8<<17, 4096) // now and then the other goes on
	}
	if got := c.note(8<<17+4096, 128<<10); got <= run {
		t.Errorf("the run was forgotten: %d", got)
	}
}

func TestAheadGrows(t *testing.T) {
	const n = 128 << 10
	last := int64(0)
	for run := int64(n); run < wantsAll; run += n {
		bytes, everything := ahead(run-n, n, run)
		if bytes < last || everything || bytes > maxAhead {
			t.Fatalf("after %d bytes: %d ahead, everything %v", run, bytes, everything)
		}
		last = bytes
	}
	if _, everything := ahead(wantsAll, n, wantsAll+n); !everything {
		t.Error("the run never wants everything")
	}
	if bytes, everything := ahead(5<<30, 4096, 4096); bytes > 1<<20 || everything {
		t.Errorf("a random read fetches %d", bytes)
	}
}

func TestNextGapAvoidsWhatIsComing(t *testing.T) {
	have := newChunks(100 * chunkSize)
	have.add(0, 10)
	have.add(30, 40)
	running := []span{{20, 25}, {10, 15}}
	for _, test := range []struct {
		lo, hi int
		want   span
		ok     bool
	}{
		{0, 100, span{15, 20}, true},
		{20, 100, span{25, 30}, true},
		{26, 28, span{26, 28}, true},
		{30, 40, span{}, false},
		{30, 100, span{40, 100}, true},
		{0, 15, span{}, false},
	} {
		if got, ok := nextGap(&have, running, test.lo, test.hi); got != test.want || ok != test.ok {
			t.Errorf("nextGap(%d, %d) = %v, %v, want %v, %v", test.lo, test.hi, got, ok, test.want, test.ok)
		}
	}
}

// simulate runs a tuner against a link for a while and returns the streams it
// settled on.
func simulate(perStream, total float64, latency time.Duration) (streams int) {
	tune := tuner{streams: 1, most: 12}
	tune.answered(latency)
	now := time.Unix(0, 0)
	var sum, n int
	for range 4000 {
		now = now.Add(10 * time.Millisecond)
		rate := min(total, perStream*float64(tune.streams))
		tune.add(now, int64(rate/100))
		sum, n = sum+tune.streams, n+1
	}
	return (sum + n/2) / n
}

func TestTunerFindsWhatHelps(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name             string
		perStream, total float64
		latency          time.Duration
		lo, hi           int
	}{
		{"one is enough", 1500 * mib, 1500 * mib, 0, 1, 1},
		{"each is limited", 25 * mib, 1 << 40, 30 * time.Millisecond, 11, 12},
		{"four fill the line", 25 * mib, 100 * mib, 30 * time.Millisecond, 4, 5},
		{"three fill the line", 25 * mib, 75 * mib, 30 * time.Millisecond, 4, 5},
	} {
		if got := simulate(test.perStream, test.total, test.latency); got < test.lo || got > test.hi {
			t.Errorf("%s: %d streams, want %d to %d", test.name, got, test.lo, test.hi)
		}
	}
	behind := tuner{streams: 1, most: 12}
	for i := range 1000 {
		behind.held += 3e6
		behind.add(time.Unix(0, int64(i)*1e7), 1<<20)
	}
	if behind.streams != 1 {
		t.Errorf("%d streams although the hash is behind", behind.streams)
	}
}

// A first answer that a login or a throttled registry held up for long is not
// waited for again with each step.
func TestTunerForgetsALateFirstAnswer(t *testing.T) {
	tune := tuner{streams: 1, most: 12}
	now := time.Unix(0, 0)
	tune.answered(2 * time.Minute)
	for range 1000 { // ten seconds
		now = now.Add(10 * time.Millisecond)
		if tune.add(now, int64(tune.streams)<<18) {
			tune.answered(30 * time.Millisecond)
		}
	}
	if tune.streams < 12 {
		t.Errorf("%d streams after ten seconds in which each more was a gain", tune.streams)
	}
}

func TestRangesShareTheEnd(t *testing.T) {
	tune := tuner{streams: 8, most: 12, rate: 200 << 20}
	if got := tune.rangeBytes(1<<30, 1<<30); got < 8<<20 || got > 16<<20 {
		t.Errorf("far from the end: %d", got)
	}
	if got := tune.rangeBytes(16<<20, 1<<30); got > 2<<20 {
		t.Errorf("near the end: %d", got)
	}
	if got := tune.rangeBytes(1<<30, 16<<20); got > 2<<20 {
		t.Errorf("near the beginning: %d", got)
	}
	if got := tune.rangeBytes(1, 1<<30); got != minRange {
		t.Errorf("at the end: %d", got)
	}
}
