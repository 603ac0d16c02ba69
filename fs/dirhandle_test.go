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
