package fs

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxAhead is how many items are fetched ahead of a walker at most. With
	// prefetches in flight at once it hides the registry's latency.
	maxAhead = 16
	// A walker that pauses for longer starts anew.
	walkPause = 2 * time.Second
	// prefetches is how many items are fetched ahead at the same time, in the
	// whole mount. A registry answers that many without throttling.
	prefetches = 8
)

// walk notices that someone goes through the items of a list one after the
// other, and tells which ones to fetch ahead. One item alone fetches nothing
// ahead; each further one looks one farther, up to maxAhead. The zero value is
// ready for use.
type walk struct {
	mu     sync.Mutex // guards what follows
	asked  int        // items asked for in a row
	last   time.Time
	cursor int // all before it was asked for or fetched ahead
}

// ask notes that item i of n was asked for and returns the items to fetch:
// from up to, but not including, to. The list may have another length, and
// other items, at each call.
func (w *walk) ask(i, n int) (from, to int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.last) > walkPause {
		w.asked, w.cursor = 0, i
	}
	w.asked++
	w.last = now
	w.cursor = min(w.cursor, n)
	ahead := min(w.asked-1, maxAhead)
	if near := i >= w.cursor-maxAhead-1 && i <= w.cursor+maxAhead; near {
		from, to = min(n, max(w.cursor, i+1)), min(n, i+1+ahead)
	} else {
		// Not in our order (tools go by inode number in large directories):
		// all will be asked for anyway.
		from, to = w.cursor, min(n, w.cursor+min(ahead, 2))
	}
	w.cursor = max(w.cursor, to)
	return from, max(from, to)
}

// prefetch runs work in the background, unless the mount is busy with as much
// already.
func (t *tree) prefetch(work func()) {
	select {
	case t.ahead <- struct{}{}:
	default:
		return
	}
	t.background(func() {
		defer func() { <-t.ahead }()
		work()
	})
}

// artifactOpened notes that someone looks into an artifact, and reads the
// manifests of those that come next.
func (r *repository) artifactOpened(d *artifactDir) {
	var (
		i, n  int
		found bool
		at    func(i int) digest.Digest
		w     *walk
	)
	if d.tag != "" {
		s := r.tags.fresh()
		if s == nil {
			return
		}
		i, found = slices.BinarySearchFunc(s.value, d.tag, func(e tagEntry, tag string) int { return strings.Compare(e.name, tag) })
		n, at, w = len(s.value), func(i int) digest.Digest { return s.value[i].digest }, &r.tagWalk
	} else {
		s := r.manifests.fresh()
		if s == nil {
			return
		}
		i, found = s.value.byDigest[digest.Digest(d.name)]
		n, at, w = len(s.value.entries), func(i int) digest.Digest { return s.value.entries[i].digest }, &r.manifestWalk
	}
	if !found {
		return
	}
	from, to := w.ask(i, n)
	for ; from < to; from++ {
		dgst := at(from)
		if dgst == "" || r.t.artifacts.inMemory(dgst) != nil {
			continue
		}
		r.t.prefetch(func() {
			// What goes wrong here goes wrong again, and is told, when the
			// walker comes to it.
			_, _ = r.t.artifacts.get(r.t.life, r.name, dgst)
		})
	}
}

// blobOpened notes that someone opens a blob that is not here yet, and
// downloads the small ones that come next in the same artifact.
func (r *repository) blobOpened(b *blobFile) {
	dgst, _ := b.seenIn.Load().(digest.Digest)
	a := r.t.artifacts.inMemory(dgst)
	if a == nil {
		return
	}
	blobs := a.blobs()
	i := slices.IndexFunc(blobs, func(d ocispec.Descriptor) bool { return d.Digest == b.digest })
	if i < 0 {
		return
	}
	from, to := a.opened.ask(i, len(blobs))
	for _, next := range blobs[from:to] {
		if next.Size <= 0 || next.Size > fetchOnOpen {
			continue
		}
		r.t.prefetch(func() {
			blob := r.t.cache.Blob(next.Digest, next.Size, source{r, next.Digest})
			defer blob.Close()
			if !blob.Stored() {
				_ = blob.Fetch(r.t.life)
			}
		})
	}
}

// repositoryListed notes that someone lists one of a repository's directories,
// and has the same of the repositories that come next listed ahead.
func (t *tree) repositoryListed(name string, w *walk, list func(*repository) error) {
	s := t.catalog.fresh()
	if s == nil {
		return
	}
	cat := t.visible(s)
	comp := cat.components[name]
	if comp == nil || !comp.repository {
		return
	}
	from, to := w.ask(comp.place, len(cat.walkOrder))
	for _, next := range cat.walkOrder[from:to] {
		r := t.repository(next)
		// A failure here is met again, and told, when the walker comes to it.
		t.prefetch(func() { _ = list(r) })
	}
}
