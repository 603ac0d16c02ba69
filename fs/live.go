package fs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/registry"
)

// What is live in a repository: a manifest that a tag or a delete-lock holds,
// the children of a live index, and the referrers (signatures, SBOMs) of a live
// subject. Deleting a live child or referrer would break an image that someone
// uses, so it is refused; deleting a live subject takes its referrers with it,
// as the registry does, and is what the user asked for, unless a lock keeps one
// of them: its own, or that of a tag on it.

// liveTrust is how old the listing may be that says what is live.
const liveTrust = 10 * time.Second

// indexReads is how many indexes are read at the same time.
const indexReads = 8

// relations are what each manifest of a repository belongs to.
type relations struct {
	// The indexes that point to a manifest, and the referrers of it that a
	// lock, their own or that of a tag, keeps with all that they refer to.
	parents map[digest.Digest][]digest.Digest
	// The indexes that cannot be read, and why: what they point to is unknown.
	unread map[digest.Digest]error
	// The tags on manifests that the listing hides.
	hidden map[digest.Digest][]datedTag
}

type datedTag struct {
	tagEntry
	at time.Time
}

// relationsMemory remembers relations for as long as they hold.
type relationsMemory struct {
	mu    sync.Mutex // guards what follows
	seq   uint64     // of the snapshot of the manifests
	flags [2]uint64  // of those that this mount has set since, on manifests and on tags
	known *relations
}

// related returns the relations within a snapshot. Every index and every locked
// manifest of the repository is read, once: their contents are cached by digest.
func (r *repository) related(ctx context.Context, s *snapshot[*manifestList]) (*relations, error) {
	m, flags := &r.relations, [2]uint64{r.changedManifests.flagsSet(), r.changedTags.flagsSet()}
	m.mu.Lock()
	known := m.known
	if known != nil && m.seq == s.seq && m.flags == flags {
		defer m.mu.Unlock()
		return known, nil
	}
	m.mu.Unlock()

	known, err := r.relate(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("find out what is needed: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seq, m.flags, m.known = s.seq, flags, known
	return known, nil
}

func (r *repository) relate(ctx context.Context, s *snapshot[*manifestList]) (*relations, error) {
	tags, err := r.tags.get(ctx)
	if err != nil {
		return nil, err
	}
	hidden, locked := r.taggedUnlisted(tags, s), r.lockedByTag(tags)
	keeps := func(e manifestEntry) bool { return e.locked() || locked[e.digest] }
	var toRead []manifestEntry
	for _, e := range r.visibleManifests(s) {
		if isIndex(e.mediaType) || keeps(e) {
			toRead = append(toRead, e)
		}
	}
	for d := range hidden {
		toRead = append(toRead, manifestEntry{digest: d})
	}
	var mu sync.Mutex    // guards what follows
	var kept []*artifact // by a lock
	known := &relations{parents: make(map[digest.Digest][]digest.Digest), unread: make(map[digest.Digest]error), hidden: hidden}
	reads, readCtx := errgroup.WithContext(ctx)
	reads.SetLimit(indexReads)
	for _, e := range toRead {
		reads.Go(func() error {
			if e.mediaType == "" { // hidden: nobody told
				var err error
				if e, _, err = r.manifest(readCtx, e.digest); err != nil || !isIndex(e.mediaType) && !keeps(e) {
					return ignoreNotFound(err)
				}
			}
			a, err := r.t.artifacts.get(readCtx, r.name, e.digest)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				known.addChildren(a)
				if keeps(e) {
					kept = append(kept, a)
				}
			case !unreadable(err):
				return ignoreNotFound(err) // gone since it was listed
			case isIndex(e.mediaType):
				known.unread[e.digest] = err
			}
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	for _, a := range kept {
		if err := r.keepSubjects(ctx, known, a); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// keepSubjects notes what a referrer that a lock keeps refers to, and what that
// refers to: the deletion of any of them would take it along.
func (r *repository) keepSubjects(ctx context.Context, known *relations, a *artifact) error {
	for a.parsed.subject != nil {
		subject := a.parsed.subject.Digest
		if slices.Contains(known.parents[subject], a.digest) {
			return nil // been here, from another referrer
		}
		known.parents[subject] = append(known.parents[subject], a.digest)
		next, err := r.t.artifacts.get(ctx, r.name, subject)
		switch {
		case errors.Is(err, errNotFound), unreadable(err):
			return nil // the registry knows no further, nor does anybody
		case err != nil:
			return err
		}
		a = next
	}
	return nil
}

func ignoreNotFound(err error) error {
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}

func (k *relations) addChildren(a *artifact) {
	for _, child := range a.parsed.children {
		k.parents[child.Digest] = append(k.parents[child.Digest], a.digest)
	}
}

// unreadable tells errors that the next try will not mend.
func unreadable(err error) bool {
	for _, lasting := range []error{registry.ErrCorrupt, registry.ErrLocked, registry.ErrDenied, registry.ErrUnsupported} {
		if errors.Is(err, lasting) {
			return true
		}
	}
	return false
}

// taggedUnlisted are the manifests that the listing hides although a listed tag
// points to them: of a hidden index, the images are needed all the same.
func (r *repository) taggedUnlisted(tags *snapshot[tagList], s *snapshot[*manifestList]) map[digest.Digest][]datedTag {
	hidden := make(map[digest.Digest][]datedTag)
	for _, tag := range r.visibleTags(tags) {
		if _, listed := s.value.find(tag.digest); !listed && tag.digest != "" {
			hidden[tag.digest] = append(hidden[tag.digest], datedTag{tag, tags.at})
		}
	}
	return hidden
}

// lockedByTag are the manifests that the lock of a tag protects.
func (r *repository) lockedByTag(tags *snapshot[tagList]) map[digest.Digest]bool {
	locked := make(map[digest.Digest]bool)
	for _, tag := range r.visibleTags(tags) {
		if tag.locked() {
			locked[tag.digest] = true
		}
	}
	return locked
}

// neededBy tells which live item needs a manifest, "" when none does. Where that
// cannot be known, because a live index cannot be read, it is an error.
func (r *repository) neededBy(ctx context.Context, d digest.Digest) (string, error) {
	// However long a listing is believed otherwise.
	s, err := r.manifestsSince(ctx, time.Now().Add(-liveTrust))
	if err != nil {
		return "", err
	}
	known, err := r.related(ctx, s)
	if err != nil {
		return "", err
	}
	l := liveness{r: r, s: s, known: known, seen: map[digest.Digest]bool{d: true}}
	why, err := l.needed(ctx, d)
	if err == nil && why == "" {
		err = l.unknown(ctx)
	}
	return why, err
}

// liveness is one question about what is live.
type liveness struct {
	r     *repository
	s     *snapshot[*manifestList]
	known *relations
	seen  map[digest.Digest]bool // content can refer in circles only by fraud, but then it does
}

// needed tells what live index or subject d belongs to.
func (l *liveness) needed(ctx context.Context, d digest.Digest) (string, error) {
	for _, parent := range l.known.parents[d] {
		why, err := l.live(ctx, parent)
		if why != "" || err != nil {
			what := "referrer"
			if e, ok := l.s.value.find(parent); !ok || isIndex(e.mediaType) {
				what = "index"
			}
			return describe(what, parent, why), err
		}
	}
	a, err := l.r.t.artifacts.get(ctx, l.r.name, d)
	switch {
	case errors.Is(err, errNotFound), unreadable(err):
		return "", nil // whatever its subject is, nobody gets to read it there
	case err != nil:
		return "", err
	case a.parsed.subject == nil:
		return "", nil
	}
	subject := a.parsed.subject.Digest
	why, err := l.live(ctx, subject)
	return describe("subject", subject, why), err
}

// unknown is the error that a live index cannot be read, which might need
// anything.
func (l *liveness) unknown(ctx context.Context) error {
	for _, d := range slices.Sorted(maps.Keys(l.known.unread)) {
		why, err := l.live(ctx, d)
		if err != nil {
			return err
		}
		if why != "" {
			return fmt.Errorf("what the index %s, held by %s, needs is unknown, since it cannot be read (rm -r %s/%s/%s removes it, --allow-orphaning does without): %w",
				d, why, l.r.name, manifestsName, d, l.known.unread[d])
		}
	}
	return nil
}

// live tells why a manifest is live, "" when it is not.
func (l *liveness) live(ctx context.Context, d digest.Digest) (string, error) {
	if l.seen[d] {
		return "", nil
	}
	l.seen[d] = true
	for _, tag := range l.known.hidden[d] {
		if _, _, err := l.r.visibleTag(tag.tagEntry, tag.at); err == nil {
			return "tag " + tag.name, nil
		}
	}
	e, ok := l.s.value.find(d)
	if !ok {
		return "", nil // not of this repository (any more), as far as it shows
	}
	e, _, err := l.r.visibleManifest(e, l.s.at)
	switch {
	case err != nil:
		return "", nil // deleted by this mount
	case len(e.tags) > 0:
		return "tag " + slices.Min(e.tags), nil
	case e.locked():
		return "a lock", nil
	}
	return l.needed(ctx, d)
}

func describe(what string, d digest.Digest, why string) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s %s, held by %s", what, d, why)
}
