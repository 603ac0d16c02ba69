package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/registry"
)

// indexReads is how many indexes are read at the same time.
const indexReads = 8

// relations are what each manifest of a repository belongs to.
type relations struct {
	// The indexes that point to a manifest, and the referrers of it that a
	// lock, their own or that of a tag, keeps with all that they refer to.
	parents map[digest.Digest][]digest.Digest
	// The referrers among them.
	kept map[digest.Digest]digest.Digest
	// The indexes that cannot be read, and why: what they point to is unknown.
	unread map[digest.Digest]error
	// What a lock keeps and cannot be read, and why: what it refers to is unknown.
	keptUnread map[digest.Digest]error
	// The tags on manifests that the listing leaves out.
	unlisted map[digest.Digest][]datedTag
}

type datedTag struct {
	tagEntry
	at time.Time
}

// relationsMemory remembers relations for as long as they hold.
type relationsMemory struct {
	mu    sync.Mutex // guards what follows
	seq   uint64     // of the snapshot of the manifests
	tags  time.Time  // when the tags were listed
	flags [2]uint64  // of those that this mount has set since, on manifests and on tags
	known *relations
}

// relatedNow is related within listings of manifests and tags that can be
// trusted, however long a listing is believed otherwise.
func (r *repository) relatedNow(ctx context.Context) (*snapshot[*manifestList], *relations, error) {
	since := time.Now().Add(-liveTrust)
	s, err := r.manifests.since(ctx, since)
	if err != nil {
		return nil, nil, err
	}
	known, err := r.related(ctx, s, since)
	return s, known, err
}

// related returns the relations within a snapshot, by tags that were listed after
// a moment. Every index and every locked manifest of the repository is read, once:
// their contents are cached by digest.
func (r *repository) related(ctx context.Context, s *snapshot[*manifestList], since time.Time) (*relations, error) {
	m, flags := &r.relations, [2]uint64{r.changedManifests.flagsSet(), r.changedTags.flagsSet()}
	m.mu.Lock()
	known := m.known
	if known != nil && m.seq == s.seq && m.tags.After(since) && m.flags == flags {
		defer m.mu.Unlock()
		return known, nil
	}
	m.mu.Unlock()

	tags, err := r.tags.since(ctx, since)
	if err == nil {
		known, err = r.relate(ctx, s, tags)
	}
	if err != nil {
		return nil, fmt.Errorf("find out what is needed: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seq, m.tags, m.flags, m.known = s.seq, tags.at, flags, known
	return known, nil
}

func (r *repository) relate(ctx context.Context, s *snapshot[*manifestList], tags *snapshot[tagList]) (*relations, error) {
	visible := r.visibleTags(tags)
	unlisted, locked := taggedUnlisted(visible, tags.at, s.value), lockedByTag(visible)
	keeps := func(e manifestEntry) bool { return e.locked() || locked[e.digest] }
	var toRead []manifestEntry
	for _, e := range r.visibleManifests(s) {
		if isIndex(e.mediaType) || keeps(e) {
			toRead = append(toRead, e)
		}
	}
	for d := range unlisted {
		toRead = append(toRead, manifestEntry{digest: d})
	}
	var mu sync.Mutex    // guards what follows
	var kept []*artifact // by a lock
	known := &relations{
		parents: make(map[digest.Digest][]digest.Digest), kept: make(map[digest.Digest]digest.Digest),
		unread: make(map[digest.Digest]error), keptUnread: make(map[digest.Digest]error), unlisted: unlisted,
	}
	reads, readCtx := errgroup.WithContext(ctx)
	reads.SetLimit(indexReads)
	for _, e := range toRead {
		reads.Go(func() error {
			if e.mediaType == "" { // unlisted: nobody told
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
			default:
				if isIndex(e.mediaType) {
					known.unread[e.digest] = err
				}
				if keeps(e) {
					known.keptUnread[e.digest] = err
				}
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
		known.parents[subject], known.kept[subject] = append(known.parents[subject], a.digest), a.digest
		next, err := r.t.artifacts.get(ctx, r.name, subject)
		switch {
		case errors.Is(err, errNotFound):
			return nil // the registry knows no further
		case unreadable(err):
			known.keptUnread[subject] = err
			return nil
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

// taggedUnlisted are the manifests that the listing leaves out although a listed
// tag points to them: of an unlisted index, the images are needed all the same.
func taggedUnlisted(tags tagList, at time.Time, listed *manifestList) map[digest.Digest][]datedTag {
	unlisted := make(map[digest.Digest][]datedTag)
	for _, tag := range tags {
		if _, ok := listed.find(tag.digest); !ok && tag.digest != "" {
			unlisted[tag.digest] = append(unlisted[tag.digest], datedTag{tag, at})
		}
	}
	return unlisted
}

// lockedByTag are the manifests that the lock of a tag protects.
func lockedByTag(tags tagList) map[digest.Digest]bool {
	locked := make(map[digest.Digest]bool)
	for _, tag := range tags {
		if tag.locked() {
			locked[tag.digest] = true
		}
	}
	return locked
}
