package fs

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// The registry's largest page: a listing costs a request for each.
const pageSize = 1000

// repository is what the mount knows of one repository, shared by all nodes
// below it.
type repository struct {
	t         *tree
	name      string
	tags      *listing[tagList]
	manifests *listing[*manifestList]

	// Single items asked for since they were listed last.
	tagsAsked, manifestsAsked atomic.Int64

	// What this mount did to tags and to manifests, by name and digest, and, in a
	// dry run alone, to blobs.
	changedTags, changedManifests changes
	changedBlobs                  changes
	relations                     relationsMemory
	manifestDeleted               atomic.Int64 // when this mount last deleted a manifest, in nanoseconds since the epoch

	// Whoever goes through the artifacts, by tag and by digest.
	tagWalk, manifestWalk walk
}

// dated is an answer about one item with the moment it was asked for.
type dated struct {
	properties registry.Properties
	err        error // nil or registry.ErrNotFound
	at         time.Time
}

// properties asks about one item by name and remembers the answer for the
// TTL, the absence of the item included.
func (t *tree) properties(ctx context.Context, ref registry.Ref) (dated, error) {
	return t.propertiesSince(ctx, ref, time.Now().Add(-t.ttl))
}

// propertiesSince is properties with an answer from after a moment.
func (t *tree) propertiesSince(ctx context.Context, ref registry.Ref, since time.Time) (dated, error) {
	if d, ok := t.points.Get(ref); ok && d.at.After(since) {
		return d, d.err
	}
	epoch := t.epoch.Load()
	return t.pointFlights.do(ctx, strconv.FormatInt(epoch, 10)+" "+ref.String(), func(ctx context.Context) (dated, error) {
		d := dated{at: time.Now()}
		d.err = t.outage.ask(func() (err error) {
			d.properties, err = t.registry.Properties(ctx, ref)
			return err
		})
		if d.err != nil && !errors.Is(d.err, registry.ErrNotFound) {
			return d, d.err
		}
		if t.epoch.Load() == epoch {
			t.points.Add(ref, d)
		}
		return d, d.err
	})
}

// worthListing tells whether to list all items, at the cost of so many
// requests, rather than ask for one more by itself. One item of very many is
// cheaper to ask for; when someone walks them all, a listing is. So it is due
// once as many items were asked for as it costs, which is at most twice what
// the better choice would have been.
func worthListing(asked *atomic.Int64, requests int) bool {
	if asked.Add(1) < int64(requests) {
		return false
	}
	asked.Store(0)
	return true
}

// pages is how many requests a listing of so many items takes.
func pages(items int) int { return items/pageSize + 1 }

// tag answers for one tag: from the listing when there is one, else by a
// request of its own. A tag that a listing lacks is asked for too, since the
// registry hides some tags from listings but not from those who know the name;
// so is one whose flags this mount has just set, if the listing has others.
// at is the moment the answer dates from.
func (r *repository) tag(ctx context.Context, name string) (entry tagEntry, at time.Time, err error) {
	s := r.tags.fresh()
	if last := r.tags.last(); s == nil && last != nil && worthListing(&r.tagsAsked, pages(len(last.value))) {
		if s, err = r.tags.get(ctx); err != nil {
			return tagEntry{}, time.Time{}, err
		}
	}
	if s != nil {
		if e, ok := s.value.find(name); ok {
			if _, disputed := r.changedTags.disputed(name, s.at, e.facts); !disputed {
				return r.visibleTag(e, s.at)
			}
		}
	}
	return r.tagSince(ctx, name, time.Now().Add(-r.t.ttl))
}

// tagSince answers for one tag by a request, not from before a moment.
func (r *repository) tagSince(ctx context.Context, name string, since time.Time) (entry tagEntry, at time.Time, err error) {
	d, err := r.t.propertiesSince(ctx, registry.Ref{Repository: r.name, Tag: name}, since)
	if err != nil {
		return tagEntry{}, time.Time{}, err
	}
	return r.visibleTag(tagEntry{name: name, digest: d.properties.Digest, facts: factsOf(d.properties)}, d.at)
}

// manifest answers for one manifest, like tag. A walk over the tags comes to
// the manifests behind them: where the tags were listed, these are listed too.
func (r *repository) manifest(ctx context.Context, dgst digest.Digest) (entry manifestEntry, at time.Time, err error) {
	s := r.manifests.fresh()
	if requests := r.manifestsCost(); s == nil && requests > 0 && worthListing(&r.manifestsAsked, requests) {
		if s, err = r.manifests.get(ctx); err != nil {
			return manifestEntry{}, time.Time{}, err
		}
	}
	if s != nil {
		if e, ok := s.value.find(dgst); ok {
			if _, disputed := r.changedManifests.disputed(dgst.String(), s.at, e.facts); !disputed {
				return r.visibleManifest(e, s.at)
			}
		}
	}
	d, err := r.t.properties(ctx, registry.Ref{Repository: r.name, Digest: dgst})
	if err != nil {
		return manifestEntry{}, time.Time{}, err
	}
	entry = manifestEntryOf(d.properties)
	entry.digest = dgst
	return r.visibleManifest(entry, d.at)
}

// manifestsCost estimates how many requests a listing of the manifests takes,
// from the latest snapshots, 0 where there are none. A registry that tells no
// digests with its tags cannot list manifests: there each is asked for, and a
// listing only pays when it was wanted for itself.
func (r *repository) manifestsCost() int {
	if last := r.tags.last(); last != nil && last.value.withoutDigests() {
		return 0
	}
	if last := r.manifests.last(); last != nil {
		return pages(len(last.value.entries))
	}
	if last := r.tags.last(); last != nil {
		return pages(len(last.value))
	}
	return 0
}

// learn takes the properties that the registry told after a change.
func (t *tree) learn(ref registry.Ref, p registry.Properties) {
	t.points.Add(ref, dated{properties: p, at: time.Now()})
}
