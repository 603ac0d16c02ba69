package fs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/registry"
)

// lingerAsks is how many repositories are asked about at the same time.
const lingerAsks = 8

// withoutChanged takes out of a catalog just fetched what this mount deleted and
// the registry's list, which lags behind, still has. The catalog tells no times,
// from which to see that a repository was pushed anew, so the registry is asked
// for each, once within the TTL and for as long as lists may lag.
//
// A dry run asks nothing: there, what it hid goes too.
func (t *tree) withoutChanged(ctx context.Context, c *catalog) *catalog {
	var mu sync.Mutex // guards gone
	gone := make(map[string]bool)
	var asks errgroup.Group
	asks.SetLimit(lingerAsks)
	for _, name := range c.walkOrder {
		if t.writable.DryRun {
			f, _ := t.changedRepositories.apply(name, time.Now(), facts{})
			if f.unlisted() {
				gone[name] = true
			}
			continue
		}
		if !t.changedRepositories.lately(name) {
			continue
		}
		asks.Go(func() error {
			// Any other answer is none about the list, which then counts.
			if _, err := t.properties(ctx, registry.Ref{Repository: name}); errors.Is(err, errNotFound) {
				mu.Lock()
				defer mu.Unlock()
				gone[name] = true
			}
			return nil
		})
	}
	_ = asks.Wait()
	if len(gone) == 0 {
		return c
	}
	return newCatalog(slices.DeleteFunc(slices.Clone(c.walkOrder), func(name string) bool { return gone[name] }))
}
