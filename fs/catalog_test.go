package fs

import (
	"fmt"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestDirectoryOfRepositoriesIsOneStateOfThem while others are being deleted:
// what is listed has its node, and the same id is the same contents.
func TestDirectoryOfRepositoriesIsOneStateOfThem(t *testing.T) {
	w := mounted(t, Config{MetadataTTL: time.Hour, Writable: &Writable{}})
	root := w.m.tree.root
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("r%03d", i))
	}
	root.t.catalog.latest = &snapshot[*catalog]{value: newCatalog(names), at: time.Now(), seq: 1}
	begin := make(chan struct{})
	go func() {
		for _, name := range names[1:] {
			<-begin
			root.t.changedRepositories.remove(name, 0)
		}
	}()
	entries := make(map[uint64]int)
	for range names[1:] {
		begin <- struct{}{}
		c, known := root.known()
		if !known {
			t.Fatal("the catalog is gone")
		}
		if n, seen := entries[c.id]; seen && n != c.n {
			t.Errorf("contents %d have %d entries, and %d at another time", c.id, c.n, n)
		}
		entries[c.id] = c.n
		for i := range c.n {
			c.child(t.Context(), i, &fuse.EntryOut{})
		}
	}
}
