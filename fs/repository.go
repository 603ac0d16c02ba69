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

// The registry's largest page. Asking for the properties of single manifests
// is cheaper than listing them all until as many were asked for as the listing
// has pages.
const pageSize = 1000

// repository is what the mount knows of one repository, shared by all nodes
// below it.
type repository struct {
	t         *tree
	name      string
	tags      *listing[tagList]
	manifests *listing[*manifestList]
	asked     atomic.Int64 // single manifests asked for since the tags were listed
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
		d.properties, d.err = t.registry.Properties(ctx, ref)
		if d.err != nil && !errors.Is(d.err, registry.ErrNotFound) {
			return d, d.err
		}
		if t.epoch.Load() == epoch {
			t.points.Add(ref, d)
		}
		return d, d.err
	})
}

// tag answers for one tag: from the listing when there is one, else by a
// request of its own. A tag that a listing lacks is asked for too, since the
// registry hides some tags from listings but not from those who know the name.
// at is the moment the answer dates from.
func (r *repository) tag(ctx context.Context, name string) (entry tagEntry, at time.Time, err error) {
	if s := r.tags.fresh(); s != nil {
		if e, ok := s.value.find(name); ok {
			return e, s.at, nil
		}
	}
	d, err := r.t.properties(ctx, registry.Ref{Repository: r.name, Tag: name})
	if err != nil {
		return tagEntry{}, time.Time{}, err
	}
	return tagEntry{name: name, digest: d.properties.Digest, facts: factsOf(d.properties)}, d.at, nil
}

// manifest answers for one manifest, like tag.
func (r *repository) manifest(ctx context.Context, dgst digest.Digest) (entry manifestEntry, at time.Time, err error) {
	if s := r.manifests.fresh(); s != nil {
		if e, ok := s.value.find(dgst); ok {
			return e, s.at, nil
		}
	}
	d, err := r.t.properties(ctx, registry.Ref{Repository: r.name, Digest: dgst})
	if err != nil {
		return manifestEntry{}, time.Time{}, err
	}
	entry = manifestEntryOf(d.properties)
	entry.digest = dgst
	return entry, d.at, nil
}

// manifestFacts tells the times of the manifest behind a tag. When someone
// walks the tags, one listing of the manifests is cheaper than a request for
// each; when someone looks at one tag of very many, the request is.
func (r *repository) manifestFacts(ctx context.Context, dgst digest.Digest) (facts, error) {
	if tags := r.tags.fresh(); tags != nil && r.manifests.fresh() == nil &&
		int64(len(tags.value)) <= pageSize*(1+r.asked.Load()) {
		if _, err := r.manifests.get(ctx); err != nil {
			return facts{}, err
		}
		r.asked.Store(0)
	} else {
		r.asked.Add(1)
	}
	e, _, err := r.manifest(ctx, dgst)
	return e.facts, err
}
