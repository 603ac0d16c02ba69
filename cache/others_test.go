package cache

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// neighbour downloads the first megabytes of a blob with a cache of its own and
// ends. What it leaves is what c sees of other processes from then on.
func neighbour(t *testing.T, c *Cache, data []byte, upto int64) {
	t.Helper()
	other := open(t, Config{Dir: c.Dir(), Size: 1 << 30})
	src := newFake(data)
	src.gate = holdAt(upto).wait
	b := handle(t, other, data, src)
	for off := 0; off+1<<20 < int(upto); off += 1 << 20 {
		wantRead(t, b, data, off, 1<<20)
	}
	shut(t, other)
	b.Close()
	c.foreign.Store(0) // it is a second later
	c.countForeign()
	if s := c.Stats(); s.Foreign < upto-2<<20 {
		t.Fatalf("the partial does not count: stats %+v", s)
	}
}

// TestPartialOfAProcessThatHasGoneIsEvicted by one that runs on.
func TestPartialOfAProcessThatHasGoneIsEvicted(t *testing.T) {
	c := open(t, Config{Size: 30 << 20})
	neighbour(t, c, bytesOf(90, 24<<20), 20<<20)
	data := bytesOf(91, 20<<20)
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	if s := c.Stats(); !b.Stored() || s.Diskless != 0 || s.Evictions != 1 || s.Foreign != 0 || s.Partial != 0 {
		t.Errorf("stored %v, stats %+v", b.Stored(), s)
	}
	if names := listNames(filepath.Join(c.Dir(), "partial")); len(names) > 0 {
		t.Errorf("partials left: %v", names)
	}
}

// TestPartialThatWasTakenOverAndGoesOnElsewhere counts as it grows there.
func TestPartialThatWasTakenOverAndGoesOnElsewhere(t *testing.T) {
	c := open(t, Config{Size: 30 << 20})
	data := bytesOf(93, 24<<20)
	neighbour(t, c, data, 10<<20)
	if !c.reclaim() {
		t.Fatal("nothing was taken over")
	}
	other := open(t, Config{Dir: c.Dir(), Size: 1 << 30})
	src := newFake(data)
	src.gate = holdAt(22 << 20).wait
	b := handle(t, other, data, src)
	for off := 0; off < 20<<20; off += 1 << 20 {
		wantRead(t, b, data, off, 1<<20)
	}
	c.foreign.Store(0) // it is a second later
	c.countForeign()
	if s := c.Stats(); s.Foreign+s.Partial < 18<<20 {
		t.Errorf("20 MiB are on the disk, and %d bytes count", s.Foreign+s.Partial)
	}
}

// TestPartialOfAnotherProcessCountsOnceWhenItIsTakenOver: nothing more is needed
// on the disk than is there.
func TestPartialOfAnotherProcessCountsOnceWhenItIsTakenOver(t *testing.T) {
	c := open(t, Config{Size: 30 << 20})
	data := bytesOf(92, 24<<20)
	neighbour(t, c, data, 20<<20)
	src := newFake(data)
	b := handle(t, c, data, src)
	fetch(t, b)
	if s := c.Stats(); !b.Stored() || s.Resumed != 1 || s.Diskless != 0 || src.given.Load() > 6<<20 {
		t.Errorf("stored %v after %d bytes more, stats %+v", b.Stored(), src.given.Load(), s)
	}
}

// TestPrivateDownloadOfADeadProcessIsRemoved when its room is needed, but none
// that someone has locked, or may have made just now.
func TestPrivateDownloadOfADeadProcessIsRemoved(t *testing.T) {
	c := open(t, Config{Size: 30 << 20})
	leave := func(name string, size int, age time.Duration) string {
		path := filepath.Join(c.Dir(), "tmp", name)
		if err := os.WriteFile(path, bytesOf(93, size), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return path
	}
	dead := leave("private-1", 20<<20, 2*orphanAge)
	fresh := leave("private-2", 1000, 0)
	locked := leave("private-3", 1000, 2*orphanAge)
	owner, err := os.Open(locked)
	if err != nil || !tryLock(owner) {
		t.Fatal(err)
	}
	defer owner.Close()
	c.foreign.Store(0)
	data := bytesOf(94, 20<<20)
	b := handle(t, c, data, newFake(data))
	fetch(t, b)
	if !b.Stored() {
		t.Errorf("not stored: stats %+v", c.Stats())
	}
	for path, want := range map[string]bool{dead: false, fresh: true, locked: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

// TestOthersPartialsAreCountedAfterTheClockWasSetBack: the last count is in the
// future then.
func TestOthersPartialsAreCountedAfterTheClockWasSetBack(t *testing.T) {
	c := open(t, Config{})
	path := filepath.Join(c.Dir(), c.disk.partial(digest.FromString("x")))
	if err := os.WriteFile(path, bytesOf(95, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c.foreign.Store(time.Now().Add(time.Hour).UnixMilli())
	c.countForeign()
	if s := c.Stats(); s.Foreign < 1<<20 {
		t.Errorf("stats %+v", s)
	}
}
