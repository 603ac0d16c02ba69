package registry

import (
	"fmt"
	"strings"
	"testing"
)

// TestLongTokensAreKeptInSmallNumber, those that were used last.
func TestLongTokensAreKeptInSmallNumber(t *testing.T) {
	c := newTokenCache()
	long := token{value: strings.Repeat("x", maxToken)}
	for i := range 3 * maxTokenBytes / maxToken {
		c.add(fmt.Sprint(i), long)
		c.add("again", long)
		held := 0
		for _, key := range c.known.Keys() {
			kept, _ := c.known.Peek(key)
			held += len(key) + len(kept.value)
		}
		if held != c.bytes || held > maxTokenBytes {
			t.Fatalf("%d tokens have %d bytes, counted as %d; %d may be kept", c.known.Len(), held, c.bytes, maxTokenBytes)
		}
	}
	if n := c.known.Len(); n < maxTokenBytes/maxToken-1 {
		t.Errorf("only %d are kept", n)
	}
	c.drop("again", "another")
	if _, ok := c.get("again"); !ok {
		t.Error("a token went for another's sake")
	}
	for _, key := range c.known.Keys() {
		c.drop(key, long.value)
	}
	if c.bytes != 0 {
		t.Errorf("none is kept, and they have %d bytes", c.bytes)
	}
}
