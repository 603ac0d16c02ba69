package localacr

import (
	"context"
	"strings"
	"sync"
	"time"
)

// touchedLimit bounds the memory of touched; past it nothing is collected for
// a while.
const touchedLimit = 200_000

// touched remembers which blobs clients have asked about lately, and which
// uploads are on their way. A client that heard "yes, it is here" will not
// upload the blob again, and its manifest still has to come.
//
// What it remembers goes with the process, and the next one must not collect
// what this one promised, nor what a push uploaded that is to go on then. So
// the disk has a mark, a time that lies after every promise and every chunk:
// until Config.CollectAfter past the mark, a Server that finds one collects
// nothing. The mark runs ahead of them, so that one write covers minutes.
type touched struct {
	keep   time.Duration
	pushes *pushes
	save   func(ctx context.Context, mark func() time.Time) (time.Time, error) // see store.saveMark

	mu     sync.Mutex // guards all below
	times  map[string]time.Time
	doomed map[string]bool // being collected right now: nobody is promised these
	blind  time.Time       // until then, everything counts as touched
	last   time.Time       // of the latest promise or chunk
	mark   time.Time       // on disk
}

// newTouched starts from the mark that an earlier process left, and from when
// the latest upload arrived that it left unfinished.
func newTouched(keep time.Duration, st *store, lastUpload time.Time) *touched {
	t := &touched{keep: keep, pushes: newPushes(keep), save: st.saveMark, times: map[string]time.Time{}, doomed: map[string]bool{}, mark: st.mark}
	for _, last := range []time.Time{st.mark, lastUpload} {
		if end := last.Add(keep); !last.IsZero() && end.After(t.blind) {
			t.blind = end
		}
	}
	return t
}

// touch promises that a blob, if it is there, stays for a while. It returns
// false for a blob that is just being collected, which counts as gone. Whoever
// tells a client that a blob is there looks again after touching it.
func (t *touched) touch(ctx context.Context, repo, digest string) (bool, error) {
	now := time.Now()
	if err := t.cover(ctx, now); err != nil {
		return false, err
	}
	k := string(key(repo, digest))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doomed[k] {
		return false, nil
	}
	if len(t.times) >= touchedLimit {
		t.forget(now)
	}
	if len(t.times) >= touchedLimit {
		t.times = map[string]time.Time{}
		t.blind = now.Add(t.keep)
	}
	t.times[k] = now
	return true, nil
}

// cover has the mark on disk lie after now. It comes before the answer that is
// to be covered.
func (t *touched) cover(ctx context.Context, now time.Time) error {
	t.mu.Lock()
	if now.After(t.last) {
		t.last = now
	}
	covered := now.Before(t.mark)
	t.mu.Unlock()
	if covered {
		return nil
	}
	// A step of a second at least: a short life must not mean a write each time.
	mark, err := t.save(ctx, func() time.Time { return time.Now().Add(max(t.keep/10, time.Second)) })
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mark.After(t.mark) {
		t.mark = mark
	}
	return nil
}

// settle moves the mark back to the latest promise or chunk: none will follow.
func (t *touched) settle() error {
	t.mu.Lock()
	last := t.last
	t.mu.Unlock()
	if last.IsZero() {
		return nil
	}
	_, err := t.save(context.Background(), func() time.Time { return last })
	return err
}

// doom reports whether nobody was promised the blob, and from then on nobody
// is, until spare. linked is when it came into its repository.
func (t *touched) doom(l link, linked, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept(l, linked, now) {
		return false
	}
	t.doomed[string(key(l.repo, l.digest))] = true
	return true
}

// spare ends what doom began, when the blob is gone or stays after all.
func (t *touched) spare(links []link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range links {
		delete(t.doomed, string(key(l.repo, l.digest)))
	}
}

// lately reports whether the blob was linked or touched so that it has to stay.
func (t *touched) lately(l link, linked, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept(l, linked, now)
}

// kept is lately. t.mu is held.
func (t *touched) kept(l link, linked, now time.Time) bool {
	last := linked
	if at := t.times[string(key(l.repo, l.digest))]; at.After(last) {
		last = at
	}
	return now.Before(t.blind) || t.pushes.since(l.repo, now).Sub(last) < t.keep
}

// forget drops what is too old to matter. t.mu is held.
func (t *touched) forget(now time.Time) {
	for k := range t.times {
		if repo, digest, _ := strings.Cut(k, "\x00"); !t.kept(link{repo, digest}, time.Time{}, now) {
			delete(t.times, k)
		}
	}
}
