package fs

import (
	"context"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/acrfs/acrfs/registry"
)

// blobsDir is a repository's _blobs: any blob by its digest. It is empty when
// listed, since registries cannot list blobs.
type blobsDir struct {
	directory
	repo *repository
}

var (
	_ fusefs.NodeLookuper = (*blobsDir)(nil)
	_ fusefs.NodeUnlinker = (*blobsDir)(nil)
	_ lister              = (*blobsDir)(nil)
)

func (d *blobsDir) attr() attr    { return plainDir }
func (d *blobsDir) where() string { return "/" + join(d.repo.name, blobsName) }

func (d *blobsDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	dgst, ok := parseDigest(name)
	if !ok {
		return nil, d.t.fail("lookup", join(d.where(), name), errNotFound)
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	if _, gone := d.repo.changedBlobs.apply(dgst.String(), time.Now(), facts{}); gone {
		return nil, d.t.fail("lookup", join(d.where(), name), errNotFound)
	}
	size, err := d.t.blobSize(ctx, d.repo.name, dgst)
	if err != nil && unanswered(err) {
		// What is cached stays readable by digest.
		if stored, ok := d.t.cache.Size(dgst); ok {
			size, err = stored, nil
		}
	}
	if err != nil {
		return nil, d.t.fail("lookup", join(d.where(), name), cause(ctx, err))
	}
	return newBlobFile(ctx, &d.Inode, d.repo, name, dgst, size, d.t.nameTimeout, out), 0
}

// Unlink deletes the blob.
func (d *blobsDir) Unlink(ctx context.Context, name string) syscall.Errno {
	where := join(d.where(), name)
	dgst, ok := parseDigest(name)
	if !ok {
		return d.t.fail("unlink", where, errNotFound)
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	err := d.t.permittedDeletion(ctx, "delete blob", registry.Ref{Repository: d.repo.name, Digest: dgst})
	if err == nil {
		err = d.repo.deleteBlob(ctx, dgst)
	}
	if err != nil {
		return d.t.fail("unlink", where, cause(ctx, err))
	}
	return 0
}

func (d *blobsDir) known() (contents, bool) { return contents{id: firstID}, true }

func (d *blobsDir) contents(ctx context.Context) (contents, error) {
	return contents{id: firstID}, nil
}

// gone is never asked: contents always has some.
func (d *blobsDir) gone(context.Context, time.Time) bool { return false }
