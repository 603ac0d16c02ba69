package localacr

import lru "github.com/hashicorp/golang-lru/v2"

// newLRU is lru.New for the constant sizes of this package: the only error is a
// size below one.
func newLRU[V any](size int) *lru.Cache[string, V] {
	c, err := lru.New[string, V](size)
	if err != nil {
		panic(err)
	}
	return c
}
