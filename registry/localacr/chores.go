package localacr

import (
	"context"
	"time"
)

// uploadLife is how long an upload may lie untouched; distribution's week.
const uploadLife = 7 * 24 * time.Hour

// sweepEvery is how often uploads are looked for that were left lying: a small
// part of their life, and seldom enough to cost nothing.
const sweepEvery = time.Hour

// chores is what a server does unasked until ctx ends: it drops uploads that
// were left lying, and collects if so configured.
func (s *Server) chores(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var collect <-chan time.Time
	if s.cfg.CollectEvery > 0 {
		ticker := time.NewTicker(s.cfg.CollectEvery)
		defer ticker.Stop()
		collect = ticker.C
		s.chore(ctx, "collect", s.collect)
	}
	for {
		select {
		case <-collect:
			s.chore(ctx, "collect", s.collect)
		case <-sweep.C:
			s.chore(ctx, "drop uploads", func(context.Context) error {
				_, err := s.store.files.dropUploads(time.Now().Add(-uploadLife))
				return err
			})
		case <-ctx.Done():
			return
		}
	}
}

// chore does one and logs if it fails; the next one comes in any case.
func (s *Server) chore(ctx context.Context, name string, do func(context.Context) error) {
	if err := do(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn(name+" failed", "error", err)
	}
}

func (s *Server) collect(ctx context.Context) error {
	_, err := s.Collect(ctx)
	return err
}
