package fs

import "testing"

func TestWalkLooksFartherAheadWithEachStep(t *testing.T) {
	var w walk
	ask := func(i, wantFrom, wantTo int) {
		t.Helper()
		if from, to := w.ask(i, 100); from != wantFrom || to != wantTo {
			t.Errorf("ask(%d) = %d, %d; want %d, %d", i, from, to, wantFrom, wantTo)
		}
	}
	ask(10, 11, 11) // one item alone
	ask(11, 12, 13)
	ask(12, 13, 15)
	ask(13, 15, 17)
	for i := 14; i < 40; i++ {
		w.ask(i, 100)
	}
	ask(40, 56, 57) // maxAhead in front, one more with each step
	for i := 41; i < 98; i++ {
		w.ask(i, 100)
	}
	ask(98, 100, 100) // and not past the end
}

func TestWalkInAnotherOrderComesToAll(t *testing.T) {
	var w walk
	covered := make(map[int]bool)
	for step := range 60 {
		i := (step*37 + 50) % 100
		covered[i] = true
		from, to := w.ask(i, 100)
		for ; from < to; from++ {
			covered[from] = true
		}
	}
	if len(covered) < 75 {
		t.Errorf("after 60 of 100 items asked for, %d are here or on their way", len(covered))
	}
}

// A list gets shorter between two steps when items are deleted.
func TestWalkStaysWithinAListThatShrinks(t *testing.T) {
	var w walk
	for i := range 90 {
		w.ask(i, 100)
	}
	for n := 99; n > 0; n-- {
		for _, i := range []int{0, n / 2, n - 1} {
			from, to := w.ask(i, n)
			if from < 0 || from > to || to > n {
				t.Fatalf("ask(%d, %d) = %d, %d", i, n, from, to)
			}
		}
	}
}
