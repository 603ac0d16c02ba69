package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

const (
	inFlight = 8 // requests for the manifests of one listing
	// maxDepth of indexes in indexes. Nobody nests more than two.
	maxDepth = 8
	// maxCollected bounds the memory of one listing, some 300 bytes each.
	maxCollected = 500_000
	// maxIndexes whose children are remembered, each with at most maxChildren.
	maxIndexes  = 4096
	maxChildren = 512
)

// child is what an index says of one manifest.
type child struct {
	digest       digest.Digest
	mediaType    string
	architecture string
	os           string
}

// collection is the manifests of a repository as far as its tags lead.
type collection struct {
	client *Client
	repo   string

	mu    sync.Mutex // guards nodes and what they point to
	nodes map[digest.Digest]*node
}

type node struct {
	Properties
	children []child
}

// manifests follows the tags, level by level: first the tags' own manifests,
// then the children of the indexes among them, and so on.
func (o *oci) manifests(ctx context.Context, repo string, _ ListOptions) iter.Seq2[Properties, error] {
	return func(yield func(Properties, error) bool) {
		op := "list manifests of " + repo
		all := &collection{client: o.c, repo: repo, nodes: map[digest.Digest]*node{}}
		level, err := all.fromTags(ctx, o.tags(ctx, repo, ListOptions{}))
		for depth := 0; err == nil && len(level) > 0 && depth < maxDepth; depth++ {
			level, err = all.descend(ctx, level)
		}
		if err == nil && len(level) > 0 {
			err = broken(op, "indexes are nested too deeply")
		}
		if err == nil && len(all.nodes) > maxCollected {
			err = broken(op, "more manifests than can be listed")
		}
		if err != nil {
			yield(Properties{}, renamed(op, err))
			return
		}
		for _, n := range all.sorted() {
			if !yield(n.Properties, nil) {
				return
			}
		}
	}
}

// fromTags resolves every tag, and returns the indexes found.
func (a *collection) fromTags(ctx context.Context, tags iter.Seq2[Tag, error]) ([]*node, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	var listing error
	for tag, err := range tags {
		if listing = cmp.Or(err, ctx.Err()); listing != nil {
			break
		}
		group.Go(func() error {
			d, err := a.client.Resolve(ctx, Ref{Repository: a.repo, Tag: tag.Name})
			if errors.Is(err, ErrNotFound) {
				return nil // deleted since it was listed
			}
			if err != nil {
				return err
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			n := a.nodes[d.Digest]
			if n == nil {
				n = &node{Properties: Properties{Digest: d.Digest, MediaType: d.MediaType}}
				a.nodes[d.Digest] = n
			}
			n.Tags = append(n.Tags, tag.Name)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if listing != nil {
		return nil, listing
	}
	var indexes []*node
	for _, n := range a.nodes {
		slices.Sort(n.Tags)
		if isIndex(n.MediaType) {
			indexes = append(indexes, n)
		}
	}
	return indexes, nil
}

// descend reads the children of a level of indexes, and returns the indexes
// among them that are new.
func (a *collection) descend(ctx context.Context, level []*node) ([]*node, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	var next []*node // guarded by a.mu
	for _, n := range level {
		group.Go(func() error {
			children, err := a.client.childrenOf(ctx, Ref{Repository: a.repo, Digest: n.Digest})
			if errors.Is(err, ErrNotFound) {
				return nil // an index may point to what was never pushed
			}
			if err != nil {
				return err
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			n.children = children
			for _, ch := range children {
				known := a.nodes[ch.digest]
				if known == nil {
					known = &node{Properties: Properties{Digest: ch.digest, MediaType: ch.mediaType}}
					a.nodes[ch.digest] = known
					if isIndex(ch.mediaType) {
						next = append(next, known)
					}
				}
				known.Architecture = cmp.Or(known.Architecture, ch.architecture)
				known.OS = cmp.Or(known.OS, ch.os)
			}
			if len(a.nodes) > maxCollected {
				return broken("list manifests of "+a.repo, "more manifests than can be listed")
			}
			return nil
		})
	}
	return next, group.Wait()
}

// sorted puts an index before what it points to, and otherwise goes by digest.
func (a *collection) sorted() []*node {
	digests := make([]digest.Digest, 0, len(a.nodes))
	for d := range a.nodes {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	slices.Reverse(digests)

	// The order in which a depth-first walk leaves the nodes, backwards, is
	// one where everything comes before what it points to.
	left := make([]*node, 0, len(digests))
	entered := make(map[digest.Digest]bool, len(digests))
	var walk func(d digest.Digest)
	walk = func(d digest.Digest) {
		n := a.nodes[d]
		if n == nil || entered[d] {
			return
		}
		entered[d] = true
		for _, ch := range slices.Backward(n.children) {
			walk(ch.digest)
		}
		left = append(left, n)
	}
	for _, d := range digests {
		walk(d)
	}
	slices.Reverse(left)
	return left
}

// childrenOf reads an index, or remembers it: its digest says that it has not
// changed.
func (c *Client) childrenOf(ctx context.Context, index Ref) ([]child, error) {
	if children, ok := c.children.Get(index.Digest); ok {
		return children, nil
	}
	body, _, err := c.Manifest(ctx, index)
	if err != nil {
		return nil, err
	}
	children, skip, err := decodeChildren(body)
	if err != nil {
		return nil, &Error{Op: "get manifest " + index.String(), Message: "the index cannot be read", Kind: ErrUnavailable, Err: err}
	}
	skip.warn(c, "get manifest "+index.String())
	if len(children) <= maxChildren {
		c.children.Add(index.Digest, children)
	}
	return children, nil
}

// IsBlob tells of the media type in an index's descriptor whether that names a
// blob and no manifest: BuildKit keeps caches as indexes of layers.
func IsBlob(mediaType string) bool {
	for _, part := range []string{".image.layer.", ".image.rootfs.", ".image.config.", ".container.image.", ".buildkit.cacheconfig."} {
		if strings.Contains(mediaType, part) {
			return true
		}
	}
	return false
}

// decodeChildren also tells how many it had to skip.
func decodeChildren(body []byte) (children []child, skip skipped, err error) {
	var index struct {
		Manifests []struct {
			MediaType string `json:"mediaType"`
			Digest    string `json:"digest"`
			Platform  struct {
				Architecture string `json:"architecture"`
				OS           string `json:"os"`
			} `json:"platform"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, skip, err
	}
	children = make([]child, 0, len(index.Manifests))
	for _, m := range index.Manifests {
		if IsBlob(m.MediaType) {
			continue
		}
		d := digest.Digest(m.Digest)
		if !ValidDigest(d) {
			skip.note(m.Digest)
			continue
		}
		children = append(children, child{d, m.MediaType, m.Platform.Architecture, m.Platform.OS})
	}
	return children, skip, nil
}
