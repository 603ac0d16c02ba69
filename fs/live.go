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
)

// What is live in a repository: a manifest that a tag or a delete-lock holds,
// the children of a live index, and the referrers (signatures, SBOMs) of a live
// subject. Deleting a live child or referrer would break an image that someone
// uses, so it is refused; deleting a live subject takes its referrers with it,
// as the registry does, and is what the user asked for, unless a lock keeps one
// of them.

// liveTrust is how old the listing may be that says what is live.
const liveTrust = 10 * time.Second

// indexReads is how many indexes are read at the same time.
const indexReads = 8

// relations remembers, for one snapshot of the manifests, what each of them
// belongs to.
type relations struct {
	mu      sync.Mutex // guards what follows
	seq     uint64
	parents map[digest.Digest][]digest.Digest
}

// parents returns what each manifest belongs to: the indexes that point to it,
// and the referrers of it that a lock keeps. Every index and every locked
// manifest of the repository is read, once: their contents are cached by digest.
func (r *repository) parents(ctx context.Context, s *snapshot[*manifestList]) (map[digest.Digest][]digest.Digest, error) {
	r.relations.mu.Lock()
	if r.relations.parents != nil && r.relations.seq == s.seq {
		defer r.relations.mu.Unlock()
		return r.relations.parents, nil
	}
	r.relations.mu.Unlock()

	var mu sync.Mutex // guards parents
	parents := make(map[digest.Digest][]digest.Digest)
	reads, readCtx := errgroup.WithContext(ctx)
	reads.SetLimit(indexReads)
	for _, e := range r.visibleManifests(s) {
		if !isIndex(e.mediaType) && !e.locked() {
			continue
		}
		reads.Go(func() error {
			a, err := r.t.artifacts.get(readCtx, r.name, e.digest)
			if errors.Is(err, errNotFound) {
				return nil // gone since it was listed
			}
			if err != nil {
				return fmt.Errorf("read manifest %s: %w", e.digest, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, child := range a.parsed.children {
				parents[child.Digest] = append(parents[child.Digest], e.digest)
			}
			if subject := a.parsed.subject; subject != nil && e.locked() {
				// It would go with its subject, which a lock forbids.
				parents[subject.Digest] = append(parents[subject.Digest], e.digest)
			}
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	r.relations.mu.Lock()
	defer r.relations.mu.Unlock()
	r.relations.seq, r.relations.parents = s.seq, parents
	return parents, nil
}

// neededBy tells which live item needs a manifest, "" when none does.
func (r *repository) neededBy(ctx context.Context, d digest.Digest) (string, error) {
	if s := r.manifests.last(); s != nil && time.Since(s.at) > liveTrust {
		r.manifests.drop() // however long a listing is believed otherwise
	}
	s, err := r.manifests.get(ctx)
	if err != nil {
		return "", err
	}
	parents, err := r.parents(ctx, s)
	if err != nil {
		return "", err
	}
	l := liveness{r: r, s: s, parents: parents, seen: map[digest.Digest]bool{d: true}}
	return l.needed(ctx, d)
}

// liveness is one question about what is live.
type liveness struct {
	r       *repository
	s       *snapshot[*manifestList]
	parents map[digest.Digest][]digest.Digest
	seen    map[digest.Digest]bool // content can refer in circles only by fraud, but then it does
}

// needed tells what live index or subject d belongs to.
func (l *liveness) needed(ctx context.Context, d digest.Digest) (string, error) {
	for _, parent := range l.parents[d] {
		why, err := l.live(ctx, parent)
		if why != "" || err != nil {
			what := "referrer"
			if e, ok := l.s.value.find(parent); ok && isIndex(e.mediaType) {
				what = "index"
			}
			return describe(what, parent, why), err
		}
	}
	a, err := l.r.t.artifacts.get(ctx, l.r.name, d)
	if err != nil {
		return "", err
	}
	if a.parsed.subject == nil {
		return "", nil
	}
	subject := a.parsed.subject.Digest
	why, err := l.live(ctx, subject)
	return describe("subject", subject, why), err
}

// live tells why a manifest is live, "" when it is not.
func (l *liveness) live(ctx context.Context, d digest.Digest) (string, error) {
	if l.seen[d] {
		return "", nil
	}
	l.seen[d] = true
	e, ok := l.s.value.find(d)
	if !ok {
		return "", nil // not of this repository (any more)
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
	why, err := l.needed(ctx, d)
	if errors.Is(err, errNotFound) {
		return "", nil // gone since it was listed
	}
	return why, err
}

func describe(what string, d digest.Digest, why string) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s %s, held by %s", what, d, why)
}
