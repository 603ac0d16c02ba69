package fs

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// facts are what a listing tells about a tag or a manifest and stat wants to
// know. They are small, because a repository may have hundreds of thousands.
type facts struct {
	created int64 // nanoseconds since the epoch; 0 where the registry keeps none
	updated int64
	access  access
}

// access packs registry.Access into one byte.
type access uint8

const (
	accessKnown access = 1 << iota
	canDelete
	canWrite
	canList
	canRead
)

func factsOf(p registry.Properties) facts {
	f := facts{created: nanos(p.Created), updated: nanos(p.Updated)}
	for _, flag := range []struct {
		set bool
		bit access
	}{
		{p.Access.Known, accessKnown}, {p.Access.CanDelete, canDelete}, {p.Access.CanWrite, canWrite},
		{p.Access.CanList, canList}, {p.Access.CanRead, canRead},
	} {
		if flag.set {
			f.access |= flag.bit
		}
	}
	return f
}

// fill is the way back.
func (f facts) fill(p *registry.Properties) {
	p.Created, p.Updated = instant(f.created), instant(f.updated)
	p.Access = registry.Access{
		Known:     f.access&accessKnown != 0,
		CanDelete: f.access&canDelete != 0,
		CanWrite:  f.access&canWrite != 0,
		CanList:   f.access&canList != 0,
		CanRead:   f.access&canRead != 0,
	}
}

// locked tells whether the registry would refuse to delete the item.
func (f facts) locked() bool {
	return f.access&accessKnown != 0 && f.access&(canDelete|canWrite) != canDelete|canWrite
}

// unlisted tells whether listings leave the item out.
func (f facts) unlisted() bool { return f.access&accessKnown != 0 && f.access&canList == 0 }

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// tagEntry is a line of a tag listing. digest is "" where the listing does
// not tell it.
type tagEntry struct {
	name   string
	digest digest.Digest
	facts
}

func (e tagEntry) properties() registry.Properties {
	p := registry.Properties{Digest: e.digest}
	e.fill(&p)
	return p
}

// tagList is a snapshot of a repository's tags, sorted by name.
type tagList []tagEntry

func (l tagList) find(name string) (tagEntry, bool) {
	i, ok := slices.BinarySearchFunc(l, name, func(e tagEntry, name string) int {
		return strings.Compare(e.name, name)
	})
	if !ok {
		return tagEntry{}, false
	}
	return l[i], true
}

// withoutDigests tells whether the registry does not say what tags point to.
func (l tagList) withoutDigests() bool { return len(l) > 0 && l[0].digest == "" }

// listTags collects a whole listing; an error in it is the answer.
func listTags(ctx context.Context, from Catalog, repo string) (tagList, error) {
	var list tagList
	for tag, err := range from.Tags(ctx, repo, registry.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		if !registry.ValidTag(tag.Name) {
			continue
		}
		list = append(list, tagEntry{name: tag.Name, digest: tag.Properties.Digest, facts: factsOf(tag.Properties)})
	}
	byName := func(a, b tagEntry) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortStableFunc(list, byName)
	}
	list = slices.CompactFunc(list, func(a, b tagEntry) bool { return a.name == b.name })
	return slices.Clip(list), nil
}

// manifestEntry is a line of a manifest listing.
type manifestEntry struct {
	digest digest.Digest
	facts
	mediaType       string
	configMediaType string
	architecture    string
	os              string
	size            int64
	tags            []string
}

func (e manifestEntry) properties() registry.Properties {
	p := registry.Properties{
		Digest: e.digest, MediaType: e.mediaType, ConfigMediaType: e.configMediaType,
		Architecture: e.architecture, OS: e.os, Size: e.size, Tags: e.tags,
	}
	e.fill(&p)
	return p
}

func manifestEntryOf(p registry.Properties) manifestEntry {
	return manifestEntry{
		digest: p.Digest, facts: factsOf(p), mediaType: p.MediaType, configMediaType: p.ConfigMediaType,
		architecture: p.Architecture, os: p.OS, size: p.Size, tags: p.Tags,
	}
}

// manifestList is a snapshot of a repository's manifests, indexes before what
// they point to.
type manifestList struct {
	entries  []manifestEntry
	byDigest map[digest.Digest]int
}

// find returns the line of a manifest. nil has none.
func (l *manifestList) find(d digest.Digest) (manifestEntry, bool) {
	if l == nil {
		return manifestEntry{}, false
	}
	i, ok := l.byDigest[d]
	if !ok {
		return manifestEntry{}, false
	}
	return l.entries[i], true
}

// listManifests collects a whole listing. All indexes come first, the newest
// of them foremost: an index is pushed after what it points to, so that an
// index of indexes stands before these. All others come oldest first: a
// signature is made after what it signs. So whoever deletes in this order comes
// to what needs something before what is needed.
func listManifests(ctx context.Context, from Catalog, repo string) (*manifestList, error) {
	list := &manifestList{byDigest: make(map[digest.Digest]int)}
	same := make(map[string]string) // the few words that all entries share, kept once
	intern := func(s string) string {
		if kept, ok := same[s]; ok {
			return kept
		}
		same[s] = s
		return s
	}
	for p, err := range from.Manifests(ctx, repo, registry.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		if _, seen := list.byDigest[p.Digest]; seen || !registry.ValidDigest(p.Digest) {
			continue
		}
		list.byDigest[p.Digest] = 0 // its place is known when all are here
		e := manifestEntryOf(p)
		e.mediaType, e.configMediaType = intern(e.mediaType), intern(e.configMediaType)
		e.architecture, e.os = intern(e.architecture), intern(e.os)
		list.entries = append(list.entries, e)
	}
	slices.SortStableFunc(list.entries, func(a, b manifestEntry) int {
		ia, ib := isIndex(a.mediaType), isIndex(b.mediaType)
		switch {
		case ia && !ib:
			return -1
		case ib && !ia:
			return 1
		case ia && ib && a.created != b.created:
			if a.created > b.created {
				return -1
			}
			return 1
		case !ia && !ib:
			return cmp.Compare(a.created, b.created)
		}
		return 0
	})
	for i, e := range list.entries {
		list.byDigest[e.digest] = i
	}
	return list, nil
}

// listRepositories collects the catalog.
func listRepositories(ctx context.Context, from Catalog) (*catalog, error) {
	names, err := collect(from.Repositories(ctx))
	if err != nil {
		return nil, err
	}
	return newCatalog(names), nil
}

func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
