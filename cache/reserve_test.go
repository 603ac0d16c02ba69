package cache

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Streams of one download reserve together what they write, no more and no
// less, whatever one takes while another asks.
func TestStreamsNeverWriteMoreThanReserved(t *testing.T) {
	c := open(t, Config{Size: 1 << 40})
	for round := range 200 {
		const chunkCount = 400
		f := newFlight(c, digest.FromString("x"), chunkCount*chunkSize)
		f.have = newChunks(chunkCount * chunkSize)
		var streams sync.WaitGroup
		for stream := range 8 {
			streams.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(stream)))
				for left := int64(chunkCount / 8); left > 0; {
					n := min(left, 1+rng.Int64N(5))
					if !f.reserve(n*chunkSize, rng.IntN(2) == 0) {
						t.Error("there is no room")
					}
					left -= n
					f.mu.Lock()
					if f.allowance < 0 {
						t.Errorf("%d bytes are written that nobody reserved", -f.allowance)
					}
					f.mu.Unlock()
				}
			})
		}
		streams.Wait()
		if t.Failed() {
			return
		}
	}
}
