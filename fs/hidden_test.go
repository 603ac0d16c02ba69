package fs

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestHiddenNamesComeBackAMinuteAfterTheLastUnlink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const dir, bound = "/app/_tags/v1", "sha256:1 2"
		var sets hiddenSets
		sets.hide(dir, bound, "a")
		time.Sleep(59 * time.Second)
		sets.hide(dir, bound, "folder/b") // the removal goes on
		time.Sleep(59 * time.Second)
		names, seq := sets.of(dir).in(bound, "folder")
		if !sets.of(dir).has(bound, "a") || !names["b"] || seq == 0 {
			t.Errorf("a: %t, in the folder: %v, want both hidden while they are unlinked", sets.of(dir).has(bound, "a"), names)
		}
		time.Sleep(2 * time.Second)
		if _, seq := sets.of(dir).in(bound, ""); sets.of(dir).has(bound, "a") || seq != 0 {
			t.Error("names are hidden a minute after the last unlink")
		}
	})
}

func TestHiddenNamesComeBackWhenTheTagMoves(t *testing.T) {
	const dir = "/app/_tags/v1"
	var sets hiddenSets
	sets.hide(dir, "sha256:1 2", "a")
	if sets.of(dir).has("sha256:1 3", "a") {
		t.Error("a name of the tag that was pushed again is hidden")
	}
	if sets.of(dir).has("sha256:1 2", "a") {
		t.Error("it is hidden again when the tag moves back")
	}
}

// Sets are kept for what hides something only, however many directories are
// removed.
func TestHiddenSetsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sets hiddenSets
		for _, dir := range []string{"/a", "/b", "/c"} {
			sets.hide(dir, "", "x")
			sets.of(dir).restore()
		}
		sets.hide("/d", "", "x")
		time.Sleep(61 * time.Second)
		sets.hide("/e", "", "x")
		if n := len(sets.sets); n != 1 {
			t.Errorf("%d sets are kept, want the last", n)
		}
	})
}
