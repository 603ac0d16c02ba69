package fs

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestManifestsAreNumberedInTheOrderOfTheirListing(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var listed []uint64
	for _, row := range []struct {
		index bool
		age   time.Duration
	}{ // indexes newest first, then the others oldest first
		{true, 0}, {true, time.Millisecond}, {true, time.Hour}, {true, 20 * 365 * 24 * time.Hour},
		{false, 30 * 365 * 24 * time.Hour}, {false, time.Minute}, {false, time.Millisecond}, {false, 0},
	} {
		name := fmt.Sprintf("sha256:%d", len(listed))
		listed = append(listed, inoOfManifest("app", name, row.index, now.Add(-row.age).UnixNano()))
	}
	if !slices.IsSorted(listed) {
		t.Errorf("numbers %x do not grow", listed)
	}

	// Without times they are apart all the same, and so are those of one moment.
	for _, created := range []int64{0, now.UnixNano()} {
		seen := map[uint64]bool{}
		const many = 50
		for i := range many {
			for _, index := range []bool{true, false} {
				ino := inoOfManifest("app", fmt.Sprintf("sha256:%064d", i), index, created)
				if (ino < inoHigh) != index || ino < 2 || ino == ^uint64(0) {
					t.Errorf("number %x of an index: %v", ino, index)
				}
				seen[ino] = true
			}
		}
		if len(seen) != 2*many {
			t.Errorf("%d numbers for %d manifests created at %d", len(seen), 2*many, created)
		}
	}
}

// A node that was given up never comes back, however many are; others stay.
func TestGivenUpNodesDoNotComeBack(t *testing.T) {
	var g generations
	first := g.stable(modeDir, 7, "a")
	other := g.stable(modeDir, 7, "b")
	g.retire(7, "a")
	if g.stable(modeDir, 7, "a") == first {
		t.Error("a node that was given up is the same as before")
	}
	if g.stable(modeDir, 7, "b") != other {
		t.Error("another node of the same inode number was given up as well")
	}
	for i := range uint64(2 * maxRetired) {
		g.retire(1000+i, "x")
	}
	if len(g.retired) > maxRetired {
		t.Errorf("%d nodes are remembered, want %d at most", len(g.retired), maxRetired)
	}
	if g.stable(modeDir, 7, "a") == first {
		t.Error("a node that was given up long ago came back")
	}
}
