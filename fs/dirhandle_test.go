package fs

import "testing"

func TestKernelCopyIsSharedOnlyByTheSameContents(t *testing.T) {
	var k kernelCopy
	const a, b = firstID + 1, firstID + 2
	open := func(id uint64, want bool, what string) {
		t.Helper()
		if got := k.open(id) != 0; got != want {
			t.Errorf("%s: uses the copy = %v, want %v", what, got, want)
		}
	}
	open(a, true, "the first handle fills the copy")
	open(a, true, "the same contents use it")
	open(b, false, "other contents do not")
	open(b, false, "nor while older handles could still add to it")
	k.release()
	k.release()
	open(b, false, "the first open after them throws it away")
	open(b, true, "and the next may fill it")
	k.release()

	open(a, false, "a newer snapshot throws the old copy away")
	open(copyPending, true, "a handle that has yet to load may fill the empty copy")
	open(copyPending, false, "but only one")
	k.settle(a)
	open(a, false, "a copy that two had a hand in is not used")
	k.release()
	open(a, false, "it is thrown away when nobody fills it")
	open(copyPending, true, "then filled again")
	k.settle(a)
	open(a, true, "and used")
}

// TestContentsThatChangedWhileTheyWerePutTogether are nobody else's: which of the
// changes are in them is unknown.
func TestContentsThatChangedWhileTheyWerePutTogether(t *testing.T) {
	var c changes
	remove := func() { c.remove("v1", 0) }
	before := putTogether(1, &c, func() {})
	if again := putTogether(1, &c, func() {}); again != before {
		t.Errorf("the same contents have the ids %d and %d", before, again)
	}
	seen := map[uint64]bool{before: true}
	for _, list := range []func(){remove, remove, func() {}} {
		id := putTogether(1, &c, list)
		if seen[id] {
			t.Errorf("other contents have the id %d, too", id)
		}
		seen[id] = true
	}
}
