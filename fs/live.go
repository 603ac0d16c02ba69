package fs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// What is live in a repository: a manifest that a tag or a delete-lock holds,
// the children of a live index, and the referrers (signatures, SBOMs) of a live
// subject. Deleting a live child or referrer would break an image that someone
// uses, so it is refused; deleting a live subject takes its referrers with it,
// as the registry does, and is what the user asked for, unless a lock keeps one
// of them: its own, or that of a tag on it.

// liveTrust is how old the listings may be that say what is live and what a lock
// keeps.
const liveTrust = 10 * time.Second

// neededBy tells which live item needs a manifest, "" when none does. Where that
// cannot be known, because what a live index or a locked referrer says cannot be
// read, it is an error.
func (r *repository) neededBy(ctx context.Context, s *snapshot[*manifestList], known *relations, d digest.Digest) (string, error) {
	l := liveness{r: r, s: s, known: known, seen: map[digest.Digest]bool{d: true}}
	why, err := l.needed(ctx, d)
	if err == nil && why == "" {
		err = known.unknownReferrer() // which nothing but lifting its lock helps against
	}
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
	for _, tag := range l.known.unlisted[d] {
		if _, _, err := l.r.visibleTag(tag.tagEntry, tag.at); err == nil {
			return "tag " + tag.name, nil
		}
	}
	e, ok := l.s.value.find(d)
	if !ok {
		return "", nil // not of this repository (any more), as far as it shows
	}
	e, _, err := l.r.visibleManifest(e, l.s.at)
	e.facts, _ = l.r.changedManifests.disputed(d.String(), l.s.at, e.facts)
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
