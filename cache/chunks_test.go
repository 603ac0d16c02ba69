package cache

import (
	"math/rand/v2"
	"testing"
)

// TestChunksAgreeWithABoolSlice drives the bitmap and the plainest possible
// set with the same operations.
func TestChunksAgreeWithABoolSlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + rng.IntN(300)
		set := newChunks(int64(n) * chunkSize)
		plain := make([]bool, n)
		for range 60 {
			lo := rng.IntN(n)
			hi := lo + rng.IntN(n-lo+1)
			fresh := 0
			add := rng.IntN(3) > 0
			for i := lo; i < hi; i++ {
				if add && !plain[i] {
					fresh++
				}
				plain[i] = add
			}
			if add {
				if got := set.add(lo, hi); got != fresh {
					t.Fatalf("add(%d, %d) = %d, want %d", lo, hi, got, fresh)
				}
			} else {
				set.remove(lo, hi)
			}
			compareChunks(t, &set, plain, rng.IntN(n+1))
		}
	}
}

func compareChunks(t *testing.T, set *chunks, plain []bool, from int) {
	t.Helper()
	if problem := set.check(); problem != "" {
		t.Fatal(problem)
	}
	first := func(want bool) int {
		for i := from; i < len(plain); i++ {
			if plain[i] == want {
				return i
			}
		}
		return len(plain)
	}
	if got, want := set.next(from), first(true); got != want {
		t.Fatalf("next(%d) = %d, want %d", from, got, want)
	}
	if got, want := set.gap(from), first(false); got != want {
		t.Fatalf("gap(%d) = %d, want %d", from, got, want)
	}
	for i, want := range plain {
		if got := set.has(i); got != want {
			t.Fatalf("has(%d) = %v, want %v", i, got, want)
		}
	}
}

func TestChunkBounds(t *testing.T) {
	for _, test := range []struct {
		size int64
		n    int
	}{{0, 0}, {1, 1}, {chunkSize, 1}, {chunkSize + 1, 2}, {64 * chunkSize, 64}, {10 << 30, 163840}} {
		set := newChunks(test.size)
		if set.n != test.n {
			t.Errorf("a blob of %d bytes has %d chunks, want %d", test.size, set.n, test.n)
		}
		set.add(0, set.n)
		if !set.full() || set.check() != "" {
			t.Errorf("size %d: full %v, check %q", test.size, set.full(), set.check())
		}
	}
}

func BenchmarkChunksFindGap(b *testing.B) {
	set := newChunks(10 << 30)
	set.add(0, set.n-1)
	b.ReportAllocs()
	for b.Loop() {
		if set.gap(0) != set.n-1 {
			b.Fatal("wrong gap")
		}
	}
}
