package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
)

// session is a mounted registry with all that has to be open for it.
type session struct {
	dir     string
	client  *registry.Client
	cache   *cache.Cache
	mounted *fs.Mounted
	gone    chan struct{} // closed when the mount is no more, whoever unmounted it

	life    context.Context // ends with close
	end     context.CancelFunc
	running sync.WaitGroup
}

// collectLessOften spends memory on time where the user has not decided by
// GOGC: a find over a large registry makes a million small objects that stay,
// and looking through them all is a third of its cost.
func collectLessOften() {
	const usual = 100
	if given := debug.SetGCPercent(2 * usual); given != usual {
		debug.SetGCPercent(given)
	}
}

// openSession mounts client's registry on dir. It opens what is cheap and local
// first, and asks the registry before anything is mounted: a mount that can
// only answer with errors helps nobody. ask asks, and its error ends the start.
//
// fc.Registry is what the tree sees of client. It takes over client, also when
// it fails.
func openSession(ctx context.Context, dir string, client *registry.Client, ask func(context.Context) error, cc cache.Config, fc fs.Config) (_ *session, err error) {
	s := &session{dir: dir, client: client}
	s.life, s.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.cache, err = cache.Open(cc); err != nil {
		return nil, cacheDirError(cc.Dir, err)
	}
	if err := ask(ctx); err != nil {
		return nil, err
	}
	fc.Cache, fc.Name = s.cache, client.Host()
	if s.mounted, err = fs.Mount(dir, fc); err != nil {
		return nil, err
	}
	s.gone = make(chan struct{})
	go func() {
		s.mounted.Wait()
		close(s.gone)
	}()
	return s, nil
}

// cacheDirError tells what is wrong with the cache's directory, and what would be
// right if it is the wrong one: on a full disk it may be right.
func cacheDirError(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("--cache-dir %q: %w", dir, err)
	}
	return fmt.Errorf("--cache-dir %q: %w: want a directory of yours, or one that can be made", dir, err)
}

// close closes what is open besides the mount, which is unmounted or detached
// by then.
func (s *session) close() error {
	s.end()
	s.running.Wait()
	var err error
	if s.cache != nil {
		err = s.cache.Close()
	}
	return errors.Join(err, s.client.Close())
}

// background runs work that belongs to the session; close ends it and waits.
func (s *session) background(work func(context.Context)) {
	s.running.Go(func() { work(s.life) })
}

// hangups delivers SIGHUP. In the foreground it tells that the terminal is gone,
// and is left alone if whoever started us wants it ignored (nohup); to a daemon
// it is sent on purpose.
func hangups(daemon bool) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	if daemon || !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(c, syscall.SIGHUP)
	}
	return c
}

// wait serves the mount until someone unmounts it, ctx ends or, with onHangup
// nil, SIGHUP arrives. Then it unmounts and closes the session. busyError tells
// that the mount was in use and had to be detached.
func (s *session) wait(ctx context.Context, hup <-chan os.Signal, onHangup func()) error {
	for {
		select {
		case <-s.gone:
			return s.close()
		case <-hup:
			if onHangup != nil {
				onHangup()
				continue
			}
		case <-ctx.Done():
		}
		return errors.Join(s.unmount(), s.close())
	}
}

const (
	// settle is how long a busy mount may take to come free: the signal that
	// ended us often ends a program in it as well.
	settle = 500 * time.Millisecond
	// settleStep is how often that is tried.
	settleStep = 50 * time.Millisecond
)

// unmount unmounts. Where that fails it detaches the mount, which nobody would
// answer any more; a busyError tells that someone uses it.
func (s *session) unmount() error {
	err := s.mounted.Unmount()
	for end := time.Now().Add(settle); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); {
		time.Sleep(settleStep)
		err = s.mounted.Unmount()
	}
	select {
	case <-s.gone: // we or someone else
		return nil
	default:
	}
	switch {
	case err == nil:
		<-s.gone
		return nil
	case !errors.Is(err, syscall.EBUSY):
		if s.mounted.UnmountLazily() == nil {
			return nil
		}
		return err
	}
	busy := &busyError{dir: s.dir, holders: fs.Holders(context.Background(), s.dir)}
	if err := s.mounted.UnmountLazily(); err != nil {
		return fmt.Errorf("%w: detach: %w", busy, err)
	}
	busy.detached = true
	return busy
}

// busyError says who uses a mount that should go.
type busyError struct {
	dir      string
	holders  []fs.Holder
	detached bool // it went nevertheless
}

func (e *busyError) Error() string {
	var b strings.Builder
	b.WriteString(e.dir + " is busy: ")
	for i, h := range e.holders {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(h.String())
	}
	if len(e.holders) == 0 {
		b.WriteString("no process of yours uses it; another user's may, or a mount elsewhere that is built on it")
	}
	if e.detached {
		b.WriteString("; detached: what still uses it gets errors from now on")
	}
	return b.String()
}

func (e *busyError) Is(target error) bool { return target == syscall.EBUSY }

// logCounters leaves the session's numbers in the log when it ends.
func (s *session) logCounters(logger *slog.Logger) {
	r, c := s.client.Stats(), s.cache.Stats()
	logger.Info("unmounted", "mountpoint", s.dir,
		"exchanges", r.Exchanges, "retries", r.Retries, "received", r.BytesRead,
		"cached", c.Stored, "hits", c.Hits, "misses", c.Misses)
}
