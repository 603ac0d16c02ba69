package fs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// shuffled is a list of n items with one more order than its own, and the
// items in that order.
func shuffled(n int) (l walked, order []int) {
	order = rand.New(rand.NewPCG(1, 2)).Perm(n)
	place := make([]int, n)
	for p, item := range order {
		place[item] = p
	}
	return walked{n: n, orders: []func(int) string{
		func(i int) string { return fmt.Sprintf("%06d", (i*37)%n) }, // followed by nobody here
		func(i int) string { return fmt.Sprintf("%06d", place[i]) },
	}}, order
}

func TestWalkLooksFartherAheadWithEachStep(t *testing.T) {
	var w walk
	ask := func(i int, want ...int) {
		t.Helper()
		if got := w.ask(i, walked{n: 100}); !slices.Equal(got, want) {
			t.Errorf("ask(%d) = %v, want %v", i, got, want)
		}
	}
	ask(10) // one item alone
	ask(11, 12, 13)
	ask(12, 14, 15, 16)
	ask(13, 17, 18, 19, 20, 21)
	for i := 14; i < 40; i++ {
		w.ask(i, walked{n: 100})
	}
	ask(40, 72) // maxAhead in front
	ask(56, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88)
	for i := 57; i < 98; i++ {
		w.ask(i, walked{n: 100})
	}
	ask(98) // and not past the end
}

// TestWalkFindsTheOrderOfTheTool: by the fourth item it is known, and what is
// fetched ahead is what comes next.
func TestWalkFindsTheOrderOfTheTool(t *testing.T) {
	l, order := shuffled(100)
	var w walk
	ahead := make(map[int]bool)
	missed, useless := 0, 0
	for p, item := range order {
		if !ahead[item] {
			missed++
		}
		for _, next := range w.ask(item, l) {
			if slices.Index(order, next) <= p || ahead[next] {
				useless++
			}
			ahead[next] = true
		}
	}
	if missed > 4 || useless > 4 {
		t.Errorf("of 100 items %d were not fetched ahead, and %d in vain", missed, useless)
	}
}

func TestWalkOnNoKnownCourseComesToAll(t *testing.T) {
	var w walk
	covered := make(map[int]bool)
	for step := range 60 {
		i := (step*37 + 50) % 100
		covered[i] = true
		for _, next := range w.ask(i, walked{n: 100}) {
			covered[next] = true
		}
	}
	if len(covered) < 75 {
		t.Errorf("after 60 of 100 items asked for, %d are here or on their way", len(covered))
	}
}

// TestWalkGoesOnInTheNextList: whoever went through one list in some order is
// expected to go through the next likewise, but not after a pause.
func TestWalkGoesOnInTheNextList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second, third walk
		l, order := shuffled(100)
		l.habit = &habit{}
		for _, item := range order[:20] {
			first.ask(item, l)
		}
		if got := second.ask(order[0], l); !slices.Equal(got, order[1:9]) {
			t.Errorf("the first item of the next list has %v fetched ahead, want %v", got, order[1:9])
		}
		time.Sleep(2 * walkPause)
		if got := third.ask(order[0], l); got != nil {
			t.Errorf("after a pause one item has %v fetched ahead", got)
		}
	})
}

func TestWalkOfFewAtATime(t *testing.T) {
	var w walk
	for i := range 50 {
		if got := w.ask(i, walked{n: 50, most: 3}); len(got) > 0 && got[len(got)-1] > i+3 {
			t.Fatalf("ask(%d) = %v, want at most 3 ahead", i, got)
		}
	}
}

// A list gets shorter between two steps when items are deleted.
func TestWalkStaysWithinAListThatShrinks(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		var w walk
		for n := 100; n > 0; n -= random.IntN(3) {
			l, order := shuffled(n)
			l.seq = uint64(n)
			i := order[random.IntN(n)]
			if random.IntN(2) == 0 {
				i = random.IntN(n)
			}
			for _, next := range w.ask(i, l) {
				if next < 0 || next >= n {
					t.Fatalf("ask(%d) of %d gave %d", i, n, next)
				}
			}
		}
	}
}
