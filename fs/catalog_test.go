package fs

import (
	"fmt"
	"sync"
	"sync/atomic"
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

// TestDirectoryOfRepositoriesReadByMany while some are being deleted: the same id
// is the same contents for all of them.
func TestDirectoryOfRepositoriesReadByMany(t *testing.T) {
	root := mounted(t, Config{MetadataTTL: time.Hour, Writable: &Writable{}}).m.tree.root
	names := make([]string, 2000)
	for i := range names {
		names[i] = fmt.Sprintf("r%04d", i)
	}
	root.t.catalog.latest = &snapshot[*catalog]{value: newCatalog(names), at: time.Now(), seq: 1}
	var (
		readers sync.WaitGroup
		mu      sync.Mutex // guards entries
		entries = make(map[uint64]int)
		ended   atomic.Bool
	)
	for range 4 {
		readers.Go(func() {
			for !ended.Load() {
				c, _ := root.known()
				mu.Lock()
				if n, seen := entries[c.id]; seen && n != c.n {
					t.Errorf("contents %d have %d entries, and %d for another", c.id, c.n, n)
					ended.Store(true)
				}
				entries[c.id] = c.n
				mu.Unlock()
			}
		})
	}
	for _, name := range names[1:500] {
		root.t.changedRepositories.remove(name, 0)
		time.Sleep(time.Millisecond)
	}
	ended.Store(true)
	readers.Wait()
}
