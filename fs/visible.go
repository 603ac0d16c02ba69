package fs

import (
	"slices"
	"time"
)

// What a repository shows: what was learned of it, with what this mount did
// since laid over.

// prune drops the changes that no listing needs any more. Those of tags are laid
// over the manifests too, as long as a snapshot of these may be shown.
func (r *repository) prune() {
	at := time.Now()
	if tags := r.tags.last(); tags != nil {
		at = tags.at
	}
	if manifests := r.manifests.last(); manifests != nil {
		r.changedManifests.prune(manifests.at)
		if manifests.at.Before(at) && time.Since(manifests.at) < r.t.ttl+r.t.stale {
			at = manifests.at
		}
	}
	r.changedTags.prune(at)
}

// visibleTag lays over what was learned of a tag what this mount did to it.
func (r *repository) visibleTag(e tagEntry, at time.Time) (tagEntry, time.Time, error) {
	var gone bool
	if e.facts, gone = r.changedTags.apply(e.name, at, e.facts); gone {
		return tagEntry{}, time.Time{}, errNotFound
	}
	return e, at, nil
}

// visibleManifest lays over what was learned of a manifest what this mount did
// to it and to its tags.
func (r *repository) visibleManifest(e manifestEntry, at time.Time) (manifestEntry, time.Time, error) {
	var gone bool
	if e.facts, gone = r.changedManifests.apply(e.digest.String(), at, e.facts); gone {
		return manifestEntry{}, time.Time{}, errNotFound
	}
	if !r.changedTags.empty() {
		e.tags = slices.DeleteFunc(slices.Clone(e.tags), func(tag string) bool {
			// A tag's own last update is not told here; a tag that was pushed
			// again shows with the next listing.
			_, gone := r.changedTags.apply(tag, at, facts{})
			return gone
		})
	}
	return e, at, nil
}

// visibleTags are the tags of a snapshot that are still there.
func (r *repository) visibleTags(s *snapshot[tagList]) tagList {
	if r.changedTags.empty() {
		return s.value
	}
	visible := make(tagList, 0, len(s.value))
	for _, e := range s.value {
		if e, _, err := r.visibleTag(e, s.at); err == nil {
			e.facts, _ = r.changedTags.disputed(e.name, s.at, e.facts)
			visible = append(visible, e)
		}
	}
	return visible
}

// visibleManifests are the manifests of a snapshot that are still there.
func (r *repository) visibleManifests(s *snapshot[*manifestList]) []manifestEntry {
	if r.changedManifests.empty() && r.changedTags.empty() {
		return s.value.entries
	}
	visible := make([]manifestEntry, 0, len(s.value.entries))
	for _, e := range s.value.entries {
		if e, _, err := r.visibleManifest(e, s.at); err == nil {
			e.facts, _ = r.changedManifests.disputed(e.digest.String(), s.at, e.facts)
			visible = append(visible, e)
		}
	}
	return visible
}

// listedTags are the visible tags that listings show.
func (r *repository) listedTags(s *snapshot[tagList]) tagList {
	if r.changedTags.empty() {
		return s.value
	}
	return withoutUnlisted(r.visibleTags(s), func(e tagEntry) bool {
		before, _ := s.value.find(e.name)
		return newlyUnlisted(before.facts, e.facts)
	})
}

// listedManifests are the visible manifests that listings show.
func (r *repository) listedManifests(s *snapshot[*manifestList]) []manifestEntry {
	if r.changedManifests.empty() {
		return r.visibleManifests(s)
	}
	return withoutUnlisted(r.visibleManifests(s), func(e manifestEntry) bool {
		before, _ := s.value.find(e.digest)
		return newlyUnlisted(before.facts, e.facts)
	})
}

// newlyUnlisted tells whether this mount took an item out of listings since one
// that has it. It is there all the same, for all but those who list.
func newlyUnlisted(listed, now facts) bool { return now.unlisted() && !listed.unlisted() }

// withoutUnlisted never changes what it is given, which may be the snapshot's own.
func withoutUnlisted[S ~[]E, E any](entries S, unlisted func(E) bool) S {
	if !slices.ContainsFunc(entries, unlisted) {
		return entries
	}
	return slices.DeleteFunc(slices.Clone(entries), unlisted)
}
