package fs

import (
	"context"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// What the tree asks of a registry, in the tree's words. registry.Client
// answers all of it; a part of the tree takes the narrowest of these that it
// can work with. All methods may be called concurrently, and their errors are
// told apart by the sentinels of package registry.

// Catalog lists. A sequence that breaks off yields an error as its last
// element; one that ends without an error was complete.
type Catalog interface {
	Repositories(ctx context.Context) iter.Seq2[string, error]
	Tags(ctx context.Context, repo string, opt registry.ListOptions) iter.Seq2[registry.Tag, error]
	Manifests(ctx context.Context, repo string, opt registry.ListOptions) iter.Seq2[registry.Properties, error]
}

// Inspector answers for one item by name, listed or not. The properties of a
// tag on a registry that keeps none hold at least its digest.
type Inspector interface {
	Properties(ctx context.Context, ref registry.Ref) (registry.Properties, error)
}

// Manifests reads manifests. Resolve tells which manifest a tag points to.
type Manifests interface {
	Resolve(ctx context.Context, ref registry.Ref) (registry.Descriptor, error)
	Manifest(ctx context.Context, ref registry.Ref) ([]byte, registry.Descriptor, error)
}

// Blobs reads blobs. ProbeBlob proves that a blob can be had, in at most one
// exchange and without moving it.
type Blobs interface {
	BlobSize(ctx context.Context, repo string, d digest.Digest) (int64, error)
	ProbeBlob(ctx context.Context, repo string, d digest.Digest) error
	OpenBlob(ctx context.Context, repo string, d digest.Digest, off, n int64) (io.ReadCloser, error)
}

// Editor changes. Update sets the flags that the patch names and returns the
// properties afterwards. A Delete that finds nothing is ErrNotFound, unless it
// was our own earlier try that deleted it.
type Editor interface {
	Update(ctx context.Context, ref registry.Ref, patch registry.AccessPatch) (registry.Properties, error)
	Delete(ctx context.Context, ref registry.Ref) error
	DeleteBlob(ctx context.Context, repo string, d digest.Digest) error
}

// Registry is all that a mount needs of a registry.
type Registry interface {
	Catalog
	Inspector
	Manifests
	Blobs
	Editor
}

var _ Registry = (*registry.Client)(nil)
