package fs

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	// prefetches is how many items are fetched ahead at the same time, in the
	// whole mount. A registry answers that many without throttling.
	prefetches = 16
	// maxPrefetches bounds those that wait for their turn as well.
	maxPrefetches = 64
	// maxBytesAhead is about how much is downloaded ahead of someone who reads
	// the small blobs of an artifact.
	maxBytesAhead = 32 << 20
)

// prefetch runs work in the background, in the order of the calls, unless too
// much is waiting already.
func (t *tree) prefetch(work func()) {
	select {
	case t.ahead <- struct{}{}:
	default:
		return
	}
	t.life.background(func() {
		defer func() { <-t.ahead }()
		select {
		case t.fetching <- struct{}{}:
			defer func() { <-t.fetching }()
			work()
		case <-t.life.ctx.Done():
		}
	})
}

// artifactOpened notes that someone looks into an artifact, and reads the
// manifests of those that come next.
func (r *repository) artifactOpened(d *artifactDir) {
	var next []digest.Digest
	if d.tag != "" {
		next = r.afterTag(d.tag)
	} else {
		next = r.afterManifest(digest.Digest(d.name))
	}
	for _, dgst := range next {
		if dgst == "" || r.t.artifacts.inMemory(dgst) != nil {
			continue
		}
		r.t.prefetch(func() {
			// What goes wrong here goes wrong again, and is told, when the
			// walker comes to it.
			_, _ = r.t.artifacts.get(r.t.life.ctx, r.name, dgst)
		})
	}
}

// afterTag returns what the tags point to that a walker wants next.
func (r *repository) afterTag(tag string) (digests []digest.Digest) {
	s := r.tags.fresh()
	if s == nil {
		return nil
	}
	tags := s.value
	i, found := slices.BinarySearchFunc(tags, tag, func(e tagEntry, tag string) int { return strings.Compare(e.name, tag) })
	if !found {
		return nil
	}
	for _, next := range r.tagWalk.ask(i, walked{n: len(tags), seq: s.seq, habit: &r.t.habits.tags, orders: []func(i int) string{
		func(i int) string { return byIno(r.tagIno(tags[i].name)) },
	}}) {
		digests = append(digests, tags[next].digest)
	}
	return digests
}

// afterManifest returns the manifests that a walker wants next.
func (r *repository) afterManifest(dgst digest.Digest) (digests []digest.Digest) {
	s := r.manifests.fresh()
	if s == nil {
		return nil
	}
	manifests := s.value.entries
	i, found := s.value.byDigest[dgst]
	if !found {
		return nil
	}
	for _, next := range r.manifestWalk.ask(i, walked{n: len(manifests), seq: s.seq, habit: &r.t.habits.manifests, orders: []func(i int) string{
		func(i int) string { return manifests[i].digest.String() },
		func(i int) string { return byIno(r.manifestIno(manifests[i])) },
	}}) {
		digests = append(digests, manifests[next].digest)
	}
	return digests
}

// blobOpened notes that someone opens a blob, and downloads the small ones
// that come next in the same artifact.
func (r *repository) blobOpened(b *blobFile) {
	dgst, _ := b.seenIn.Load().(digest.Digest)
	a := r.t.artifacts.inMemory(dgst)
	if a == nil || len(a.blobs) < 2 {
		return
	}
	i, found := a.byBlob[b.digest]
	if !found {
		return
	}
	blobs := a.blobs
	for _, next := range a.opened.ask(i, walked{n: len(blobs), most: a.blobsAhead, habit: &r.t.habits.blobs, orders: []func(i int) string{
		func(i int) string { return blobs[i].name },
		func(i int) string { return byIno(inoOfBlob(blobs[i].digest, blobs[i].size)) },
	}}) {
		next := blobs[next]
		if _, stored := r.t.cache.Size(next.digest); stored || next.size <= 0 || next.size > fetchOnOpen {
			continue
		}
		r.t.prefetch(func() {
			blob := r.t.cache.Blob(next.digest, next.size, source{r, next.digest})
			defer blob.Close()
			if !blob.Stored() {
				_ = blob.Fetch(r.t.life.ctx)
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
	for _, next := range w.ask(comp.place, walked{n: len(cat.walkOrder), seq: s.seq}) {
		r := t.repository(cat.walkOrder[next])
		// A failure here is met again, and told, when the walker comes to it.
		t.prefetch(func() { _ = list(r) })
	}
}
