package fs

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// What a deletion took along, nobody tells: the referrers of a subject, and
// their tags. So it is looked up afresh, and what is missing then can still be
// removed by whoever is walking there. Of a referrer that is at hand from before,
// the registry is asked when it is its turn.

// noteVanished notes the manifests that a listing had and the next one lacks,
// after a deletion of ours. What went with it, such as signatures, nobody tells.
// now is nil when the repository is gone, and before that all of it.
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

// answered tells whether a listing was answered, be it that there is none: then
// the repository went with its last manifest.
func answered(err error) bool { return err == nil || errors.Is(err, errNotFound) }

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
	return r.t.unknown(ctx, registry.Ref{Repository: r.name, Digest: e.digest}, time.Now())
}

// wentWithManifests tells, of a repository that the registry does not know, whether
// it may have gone with its last manifest after a deletion of ours, and notes it
// then. No I/O.
func (t *tree) wentWithManifests(name string) bool {
	t.mu.Lock()
	r := t.repos[name]
	t.mu.Unlock()
	if r == nil || !r.takesAlong() || t.changedRepositories.lately(name) || t.changedFolders.lately(name) {
		return false // it was noted, and may have been removed since
	}
	t.noteRepositoryGone(name, (*changes).takeAlong)
	return true
}

// subjectWent tells whether this mount removed what a manifest refers to, or what
// that refers to. No request.
func (r *repository) subjectWent(ctx context.Context, d digest.Digest) bool {
	for seen := map[digest.Digest]bool{}; !seen[d]; {
		seen[d] = true // content can refer in circles only by fraud
		a := r.t.artifacts.cached(ctx, d)
		if a == nil || a.parsed.subject == nil {
			return false
		}
		if d = a.parsed.subject.Digest; r.changedManifests.went(d.String()) {
			return true
		}
	}
	return false
}

// wentWithSubject tells whether a manifest whose subject this mount removed went
// along, and notes it then. That takes a request: where the customer manages the
// keys, ACR does not know of referrers and leaves them, and one may have been
// pushed again since.
func (r *repository) wentWithSubject(ctx context.Context, e manifestEntry) bool {
	if e.access&accessKnown == 0 {
		return false // a registry that takes none along
	}
	if !r.t.unknown(ctx, registry.Ref{Repository: r.name, Digest: e.digest}, time.Now()) {
		return false
	}
	r.noteManifestGone(ctx, e, r.tags.last(), time.Now())
	return true
}
