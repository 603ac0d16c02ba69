package fs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndWaitsForWorkWhoseCallerLeft: a caller that is killed does not stop what
// it began; the end of the mount does, and comes after it.
func TestEndWaitsForWorkWhoseCallerLeft(t *testing.T) {
	for name, start := range map[string]func(l *life, ctx context.Context, work func(context.Context) error) error{
		"shared": func(l *life, ctx context.Context, work func(context.Context) error) error {
			f := flights[int]{life: l}
			_, err := f.do(ctx, "", func(ctx context.Context) (int, error) { return 0, work(ctx) })
			return err
		},
		"detached": func(l *life, ctx context.Context, work func(context.Context) error) error {
			return l.detached(ctx, time.Hour, work)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, left := newLife(), errors.New("left")
				caller, leave := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { leave(left) })
				ended := false
				err := start(l, caller, func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(time.Second) // to note how it ended
					ended = true
					return ctx.Err()
				})
				if !errors.Is(err, left) || ended {
					t.Errorf("got %v with the work ended: %v; want %v while it goes on", err, ended, left)
				}
				l.close()
				if !ended {
					t.Error("the end did not wait")
				}
				err = start(l, t.Context(), func(ctx context.Context) error { return ctx.Err() })
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v after the end; want %v", err, context.Canceled)
				}
			})
		})
	}
}

func TestDetachedWorkEndsAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife()
		err := l.detached(t.Context(), time.Minute, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		l.close()
	})
}
