package fs

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/registry"
)

const (
	// Answers about single items. A walk that looks each item up by name
	// should not thrash; at some 400 bytes each this is about 25 MiB.
	maxPoints = 1 << 16
	// Sizes of blobs whose descriptor has none.
	maxSizes = 1 << 14
)

// tree is what all nodes of one mount share.
type tree struct {
	registry Registry
	cache    *cache.Cache
	log      *slog.Logger
	ttl      time.Duration // how long a listing or property is believed
	stale    time.Duration // how much longer when the registry is out of reach
	uid, gid uint32
	// How long the kernel may keep names and properties that can change, if
	// they are true at this moment.
	nameTimeout time.Duration
	life        *life
	mountpoint  string        // set once, before the first request
	device      atomic.Uint64 // of the mount, set once when it answers

	root         *componentDir
	catalog      *listing[*catalog]
	bound        *retention
	points       *lru.Cache[registry.Ref, dated]
	pointFlights flights[dated]
	sizes        *lru.Cache[blobKey, int64]
	sizeFlights  flights[int64]
	artifacts    *artifacts
	gens         generations
	outage       outage
	ahead        chan struct{} // holds one for each prefetch that waits or runs
	fetching     chan struct{} // holds one for each that runs

	// Whoever goes through the repositories.
	tagsWalk, manifestsWalk walk
	habits                  struct{ tags, manifests, blobs habit }

	passthrough atomic.Bool // set once, before the first open

	// Of a writable mount.
	writable            *Writable // nil: read-only
	audit               audit
	budget              budget
	deletions           flights[struct{}]
	hidden              hiddenSets
	changedRepositories changes
	changedFolders      changes // components that went with the last repository below them
	unlisted            unlisted
	view                atomic.Pointer[catalogView]
	epoch               atomic.Int64 // moves with every Refresh
	stats               counters

	mu    sync.Mutex // guards repos
	repos map[string]*repository
}

type blobKey struct {
	repo   string
	digest digest.Digest
}

func newTree(cfg Config) *tree {
	t := &tree{
		registry: cfg.Registry,
		cache:    cfg.Cache,
		log:      cfg.Logger,
		ttl:      cfg.MetadataTTL,
		stale:    cfg.StaleIfError,
		uid:      *cfg.UID,
		gid:      *cfg.GID,
		writable: cfg.Writable,
		life:     newLife(),
		bound:    newRetention(maxEntries),
		ahead:    make(chan struct{}, maxPrefetches),
		fetching: make(chan struct{}, prefetches),
		repos:    make(map[string]*repository),
	}
	t.root = newRoot(t)
	t.points, _ = lru.New[registry.Ref, dated](maxPoints) // fails for sizes below 1 only
	t.sizes, _ = lru.New[blobKey, int64](maxSizes)
	t.pointFlights.life, t.sizeFlights.life, t.deletions.life = t.life, t.life, t.life
	t.deletions.limit = changeLimit
	t.audit.log = cfg.Logger
	if w := cfg.Writable; w != nil {
		t.audit.to = w.Audit
		t.budget.max = int64(w.MaxDeletes)
		t.changedRepositories.keep = w.DryRun
		t.changedFolders.keep = w.DryRun
	}
	t.artifacts = newArtifacts(t)
	t.nameTimeout = t.ttl
	if t.writable != nil {
		t.nameTimeout = 0 // what this mount changes shows at the next look
	}
	t.catalog = newListing(t, func(ctx context.Context) (*catalog, error) {
		c, err := listRepositories(ctx, t.registry)
		if err != nil || t.changedRepositories.empty() {
			return c, err
		}
		return t.withoutChanged(ctx, c), nil
	}, func(c *catalog) int { return len(c.components) })
	t.catalog.kept = func() {
		if s := t.catalog.last(); s != nil {
			t.changedRepositories.prune(s.at)
			t.changedFolders.prune(s.at)
		}
	}
	return t
}

func newListing[T any](t *tree, fetch func(context.Context) (T, error), weigh func(T) int) *listing[T] {
	asking := func(ctx context.Context) (value T, err error) {
		err = t.outage.ask(func() (err error) {
			value, err = fetch(ctx)
			return err
		})
		return value, err
	}
	l := &listing[T]{fetch: asking, weigh: weigh, bound: t.bound, ttl: t.ttl, stale: t.stale}
	l.flight.life = t.life
	return l
}

// repository returns what is known of a repository that exists. There are as
// many of these as repositories were looked at; what is large in them is
// bounded by t.bound.
func (t *tree) repository(name string) *repository {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.repos[name]
	if r == nil {
		r = &repository{t: t, name: name}
		if t.writable != nil {
			r.changedTags.keep = t.writable.DryRun
			r.changedManifests.keep = t.writable.DryRun
			r.changedBlobs.keep = t.writable.DryRun
		}
		r.tags = newListing(t, func(ctx context.Context) (tagList, error) {
			list, err := listTags(ctx, t.registry, name)
			if before := r.tags.last(); before != nil && answered(err) {
				r.noteVanishedTags(before.value, list)
			}
			return list, err
		}, func(l tagList) int { return len(l) })
		r.manifests = newListing(t, func(ctx context.Context) (*manifestList, error) {
			list, err := listManifests(ctx, t.registry, name)
			if before := r.manifests.last(); before != nil && answered(err) {
				r.noteVanished(before.value, list)
			}
			return list, err
		}, func(l *manifestList) int { return len(l.entries) })
		r.tags.kept, r.manifests.kept = r.prune, r.prune
		t.repos[name] = r
	}
	return r
}

// forget drops every listing and every answer about a single item. What is
// named by its digest stays.
func (t *tree) forget() {
	t.epoch.Add(1)
	t.catalog.drop()
	t.points.Purge()
	t.mu.Lock()
	repos := make([]*repository, 0, len(t.repos))
	for _, r := range t.repos {
		repos = append(repos, r)
	}
	t.mu.Unlock()
	for _, r := range repos {
		r.tags.drop()
		r.manifests.drop()
	}
}

// blobSize asks for the size of a blob whose descriptor has none.
func (t *tree) blobSize(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	if d == emptyBlob {
		return 0, nil
	}
	key := blobKey{repo, d}
	if size, ok := t.sizes.Get(key); ok {
		return size, nil
	}
	return t.sizeFlights.do(ctx, repo+"@"+d.String(), func(ctx context.Context) (int64, error) {
		var size int64
		err := t.outage.ask(func() (err error) {
			size, err = t.registry.BlobSize(ctx, repo, d)
			return err
		})
		if err == nil {
			t.sizes.Add(key, size)
		}
		return size, err
	})
}

// emptyBlob is the one digest whose size everybody knows.
var emptyBlob = digest.FromBytes(nil)
