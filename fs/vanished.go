package fs

import (
	"context"
	"errors"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// What a deletion took along, nobody tells: the referrers of a subject, and
// their tags. So it is looked up afresh, and what is missing then can still be
// removed by whoever is walking there.

// manifestsSince returns a listing of the manifests from after a moment.
func (r *repository) manifestsSince(ctx context.Context, since time.Time) (*snapshot[*manifestList], error) {
	return listedSince(ctx, r.manifests, since, r.noteVanished)
}

// tagsSince returns a listing of the tags from after a moment.
func (r *repository) tagsSince(ctx context.Context, since time.Time) (*snapshot[tagList], error) {
	return listedSince(ctx, r.tags, since, r.noteVanishedTags)
}

// listedSince returns a listing from after a moment. How it differs from one that
// is dropped for that is told here; one that has run out tells it where it is
// fetched anew.
func listedSince[T any](ctx context.Context, l *listing[T], since time.Time, differ func(before, now T)) (*snapshot[T], error) {
	before := l.last()
	if before == nil || before.at.After(since) {
		return l.get(ctx)
	}
	l.drop()
	s, err := l.get(ctx)
	if err == nil {
		differ(before.value, s.value)
	}
	return s, err
}

// noteVanished notes the manifests that a listing had and the next one lacks,
// after a deletion of ours. What went with it, such as signatures, nobody tells.
func (r *repository) noteVanished(before, now *manifestList) {
	if !r.takesAlong() {
		return
	}
	var vanished []string
	for _, e := range before.entries {
		if _, listed := now.find(e.digest); !listed {
			vanished = append(vanished, e.digest.String())
		}
	}
	r.changedManifests.vanish(vanished)
}

// noteVanishedTags is noteVanished for the tags, which went with such manifests.
func (r *repository) noteVanishedTags(before, now tagList) {
	if !r.takesAlong() {
		return
	}
	var vanished []string
	for _, e := range before {
		if _, listed := now.find(e.name); !listed {
			vanished = append(vanished, e.name)
		}
	}
	r.changedTags.vanish(vanished)
}

// takesAlong tells whether what is missing may have gone with a manifest that
// this mount deleted.
func (r *repository) takesAlong() bool {
	return r.t.writable != nil && !r.t.writable.DryRun && r.changedManifests.recently() > 0
}

// mayHaveGoneAlong tells whether an item that was listed and is missing now may
// have gone with something that this mount deleted: the referrers of a subject,
// which only the registry knows.
func (r *repository) mayHaveGoneAlong(err error) bool {
	return errors.Is(err, errNotFound) && r.t.writable != nil && r.changedManifests.recently() > 0
}

// tagWentAlong tells, of a tag that was listed and is missing now, whether that
// is so because its manifest went with something that this mount deleted.
func (r *repository) tagWentAlong(ctx context.Context, e tagEntry, err error) bool {
	if !r.mayHaveGoneAlong(err) {
		return false
	}
	_, err = r.t.propertiesSince(ctx, registry.Ref{Repository: r.name, Digest: e.digest}, time.Now())
	return errors.Is(err, errNotFound)
}
