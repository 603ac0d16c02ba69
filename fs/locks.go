package fs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// Whether an item may be deleted is decided by flags on up to three levels: its
// own, those of the tags on a manifest, and the repository's. The registry says
// only that it refused; whoever reads the log wants to know which flag to lift.

// lockError says which of the item's own flags forbid its deletion, nil when
// none does.
func (f facts) lockError(ref registry.Ref) error {
	if !f.locked() {
		return nil
	}
	var off []string
	if f.access&canDelete == 0 {
		off = append(off, "can_delete=false")
	}
	if f.access&canWrite == 0 {
		off = append(off, "can_write=false")
	}
	return fmt.Errorf("%w: %s on %s", errLocked, strings.Join(off, " and "), levelOf(ref))
}

func levelOf(ref registry.Ref) string {
	switch {
	case ref.Digest != "":
		return "manifest " + ref.String()
	case ref.Tag != "":
		return "tag " + ref.String()
	}
	return "repository " + ref.String()
}

// lockedTag says which tag's lock protects a manifest, which would take its
// tags along, nil when none does. The tags are listed only where there are some,
// not from before a moment.
func (r *repository) lockedTag(ctx context.Context, d digest.Digest, tags []string, since time.Time) error {
	if len(tags) == 0 {
		return nil
	}
	s, err := r.tags.since(ctx, since)
	if err != nil {
		return err
	}
	for _, name := range tags {
		e, ok := s.value.find(name)
		if !ok {
			continue
		}
		if _, disputed := r.changedTags.disputed(name, s.at, e.facts); disputed {
			e, _, err = r.tag(ctx, name)
		} else {
			e, _, err = r.visibleTag(e, s.at)
		}
		if err != nil || e.digest != d {
			continue
		}
		if err := e.lockError(registry.Ref{Repository: r.name, Tag: e.name}); err != nil {
			return err
		}
	}
	return nil
}

// repositoryLock says whether the repository's flags forbid that an item is
// deleted: the repository itself or something in it. They cost a request, which
// only a dry run and the last manifest of a repository are worth beforehand.
func (r *repository) repositoryLock(ctx context.Context, item registry.Ref) error {
	ref := registry.Ref{Repository: r.name}
	p, err := r.t.propertiesSince(ctx, ref, time.Now().Add(-min(liveTrust, r.t.ttl)))
	if err != nil {
		return err
	}
	f, _ := r.t.changedRepositories.apply(r.name, p.at, factsOf(p.properties))
	if item != ref {
		f.access |= canDelete // protects the repository alone, not what is in it
	}
	return f.lockError(ref)
}

// lockedWithout says whether the repository's lock protects a manifest: the
// last one, with which the registry would drop the repository.
func (r *repository) lockedWithout(ctx context.Context, s *snapshot[*manifestList], e manifestEntry) error {
	if e.access&accessKnown == 0 || !r.nothingListedBut(s, e.digest) {
		return nil
	}
	return ignoreNotFound(r.repositoryLock(ctx, registry.Ref{Repository: r.name}))
}

// lockedReferrer says which referrer a lock keeps that the deletion of a manifest
// would take along, nil when there is none. --allow-orphaning does not lift locks.
func (k *relations) lockedReferrer(d digest.Digest) error {
	if referrer, ok := k.kept[d]; ok {
		return fmt.Errorf("%w: it would go along, or what refers to it: referrer %s", errLocked, referrer)
	}
	return k.unknownReferrer()
}

// unknownReferrer is the error that what a lock keeps cannot be read, which might
// refer to anything.
func (k *relations) unknownReferrer() error {
	if len(k.keptUnread) == 0 {
		return nil
	}
	d := slices.Min(slices.Collect(maps.Keys(k.keptUnread)))
	return fmt.Errorf("%w: what %s refers to, with which it would go, is unknown, since it cannot be read (let it be read, or lift the lock that keeps it): %w",
		errLocked, d, k.keptUnread[d])
}

// explain adds to the registry's refusal which flag on which level it is
// about, as far as asking again tells.
func (r *repository) explain(ctx context.Context, ref registry.Ref, refusal error) error {
	if !errors.Is(refusal, registry.ErrLocked) {
		return refusal
	}
	now := time.Now()
	r.t.points.Remove(registry.Ref{Repository: r.name})
	r.tags.drop()
	whys := []func() error{
		func() error { return r.repositoryLock(ctx, ref) },
		func() error {
			p, err := r.t.propertiesSince(ctx, ref, now)
			if err == nil {
				err = factsOf(p.properties).lockError(ref)
			}
			if err == nil && ref.Digest != "" {
				err = r.lockedTag(ctx, ref.Digest, p.properties.Tags, now)
			}
			return err
		},
	}
	for _, why := range whys {
		if err := why(); errors.Is(err, errLocked) {
			return fmt.Errorf("%w (%w)", refusal, err)
		}
	}
	return refusal
}
