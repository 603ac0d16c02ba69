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

// noteVanished notes the manifests that a listing had and the next one lacks,
// after a deletion of ours. What went with it, such as signatures, nobody tells.
func (r *repository) noteVanished(before, now *manifestList) {
	if !r.takesAlong() {
		return
	}
	var vanished []string
	for _, e := range before.entries {
		if _, listed := now.find(e.digest); !listed {
			r.forgetPoints(e.digest)
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
			r.forgetPoints(e.digest, e.name)
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
