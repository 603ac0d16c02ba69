package registry

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxTokens bounds the cache of access tokens: one of some 2 KiB for each kind
	// of access, and for each repository where a token serves no more than one.
	maxTokens = 2048
	// maxTokenBytes bounds them where they are long, as with many groups: some
	// hundreds are kept then.
	maxTokenBytes = 16 << 20
)

// tokenCache keeps the tokens that were used last, by what they are for.
type tokenCache struct {
	mu    sync.Mutex // guards what follows
	known *simplelru.LRU[string, token]
	bytes int // of all keys and tokens in known
}

func newTokenCache() *tokenCache {
	c := &tokenCache{}
	known, err := simplelru.NewLRU(maxTokens, func(key string, t token) { c.bytes -= len(key) + len(t.value) })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	c.known = known
	return c
}

func (c *tokenCache) get(key string) (token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Get(key)
}

func (c *tokenCache) add(key string, t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Remove(key) // which counts it out
	c.known.Add(key, t)
	c.bytes += len(key) + len(t.value)
	for c.bytes > maxTokenBytes {
		c.known.RemoveOldest()
	}
}

// drop forgets the token if it is the one that was sent.
func (c *tokenCache) drop(key, sent string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.known.Peek(key); ok && t.value == sent {
		c.known.Remove(key)
	}
}
