package fs

import (
	"testing"
	"testing/synctest"
)

// TestPrefetchesAreBoundedAndEndWithTheMount: some run, more wait, the rest is
// dropped; when the mount ends, who waits is not begun any more.
func TestPrefetchesAreBoundedAndEndWithTheMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &tree{life: newLife(), ahead: make(chan struct{}, maxPrefetches), fetching: make(chan struct{}, prefetches)}
		begun, done := make(chan int, 1000), make(chan int, 1000)
		goOn := make(chan struct{})
		for i := range 1000 {
			m.prefetch(func() {
				begun <- i
				select {
				case <-goOn:
				case <-m.life.ctx.Done():
				}
				done <- i
			})
		}
		synctest.Wait()
		if n := len(begun); n != prefetches {
			t.Errorf("%d at once, want %d", n, prefetches)
		}
		for range maxPrefetches - 2*prefetches { // so many end, and as many begin
			goOn <- struct{}{}
			synctest.Wait()
		}
		if n := len(begun); n != maxPrefetches-prefetches {
			t.Errorf("%d began, want %d", n, maxPrefetches-prefetches)
		}
		m.life.close()
		if len(begun) != len(done) {
			t.Errorf("%d of %d were waited for", len(done), len(begun))
		}
		m.prefetch(func() { t.Error("one began after the end") })
		synctest.Wait()
	})
}
