package fs

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/singleflight"
)

// How long one piece of shared work may take. The client bounds every request;
// this bounds their sum, for a listing of very many pages.
const flightLimit = 15 * time.Minute

// changeLimit is that of a change. The client bounds it by as long as the user
// lets it wait for a registry that throttles, which may be hours.
const changeLimit = 24 * time.Hour

// flights runs work once for all who ask for the same key at the same time.
// The work belongs to none of them: who leaves stops waiting, not the work,
// and it ends at its own limit or with the mount.
type flights[V any] struct {
	life  *life
	limit time.Duration // 0: flightLimit
	group singleflight.Group
}

// do waits for work or for ctx, whichever ends first.
func (f *flights[V]) do(ctx context.Context, key string, work func(context.Context) (V, error)) (V, error) {
	done := f.group.DoChan(key, func() (any, error) {
		defer f.life.begin()()
		workCtx, cancel := context.WithTimeout(f.life.ctx, cmp.Or(f.limit, flightLimit))
		defer cancel()
		return work(workCtx)
	})
	select {
	case r := <-done:
		v, _ := r.Val.(V)
		return v, r.Err
	case <-ctx.Done():
		var none V
		return none, context.Cause(ctx)
	}
}

// forget makes the next do start anew, even while the old work still runs.
func (f *flights[V]) forget(key string) { f.group.Forget(key) }
