package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/registry"
)

// Blobs up to this size are downloaded and verified by open itself, larger
// ones while they are read.
const fetchOnOpen = 8 << 20

// blobFile is a blob of one repository: a layer, a config, a file of an
// artifact. All its names in the repository are one node; the same blob in
// another repository is another node with the same inode number, because who
// may read it there is another question.
type blobFile struct {
	node
	repo   *repository
	digest digest.Digest
	size   int64
	killed atomic.Bool // its content was wrong; the next look-up gives a new node
	mode   ioMode
	seenIn atomic.Value // digest.Digest of the artifact that it was looked up in last
}

var (
	_ fusefs.NodeOpener      = (*blobFile)(nil)
	_ fusefs.NodeGetxattrer  = (*blobFile)(nil)
	_ fusefs.NodeListxattrer = (*blobFile)(nil)
)

// inoOfBlob: descriptors that disagree about a blob's size are different files,
// so that a wrong one does not pass for the right one, as a hard link, to tools
// that copy trees.
func inoOfBlob(d digest.Digest, size int64) uint64 {
	return inoOf("blob", d.String(), strconv.FormatInt(max(size, 0), 10))
}

// newBlobFile is the node of a blob under this name. valid is how long the
// name may be believed.
func newBlobFile(ctx context.Context, parent *fusefs.Inode, repo *repository, name string, d digest.Digest, size int64, valid time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	b := &blobFile{node: node{t: repo.t}, repo: repo, digest: d, size: size}
	id := b.identity()
	known := parent.GetChild(name)
	if known == nil || known.StableAttr() != id {
		known = parent.NewInode(ctx, b, id)
	}
	b.t.fillEntry(out, b.attr(), valid)
	return known
}

// identity is the blob's number, and a generation of its repository's.
func (b *blobFile) identity() fusefs.StableAttr {
	return b.t.gens.stable(modeFile, inoOfBlob(b.digest, b.size), b.repo.name)
}

func (b *blobFile) attr() attr {
	// At least two links: the name by which it was found, and _blobs.
	return attr{perm: filePerm, nlink: 2, size: b.size, mtime: digestTime(b.digest), valid: forever}
}

func (b *blobFile) where() string {
	return "/" + b.repo.name + "/" + blobsName + "/" + b.digest.String()
}

func (b *blobFile) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, b.refuse(ctx, "open for writing", "")
	}
	if b.killed.Load() {
		return nil, 0, b.t.fail("open", b.where(), errKilled)
	}
	b.repo.blobOpened(b)
	blob := b.t.cache.Blob(b.digest, b.size, b.source())
	if !blob.Stored() {
		ctx, done := b.t.opContext(ctx)
		defer done()
		if err := b.begin(ctx, blob); err != nil {
			blob.Close()
			return nil, 0, b.failed("open", cause(ctx, err))
		}
	}
	b.t.stats.opens.Add(1)
	blob.OnDeath(b.kill)
	h := &blobHandle{file: b, blob: blob}
	_, whole := blob.File()
	h.passthrough, h.keepPages = b.mode.open(whole && b.t.passthrough.Load())
	openFlags := uint32(fuse.FOPEN_NOFLUSH)
	if h.keepPages {
		// The content of a digest does not change, and without KEEP_CACHE a
		// second open waits for the first reader's read.
		openFlags |= fuse.FOPEN_KEEP_CACHE
	}
	return h, openFlags, 0
}

// begin finds out whether the blob can be had, so that open says so: a small
// one is fetched, a large one only asked for.
func (b *blobFile) begin(ctx context.Context, blob *cache.Blob) error {
	if b.size <= fetchOnOpen {
		return blob.Fetch(ctx)
	}
	return b.t.registry.ProbeBlob(ctx, b.repo.name, b.digest)
}

// failed ends a failed operation on the blob. Corrupt content kills the file.
func (b *blobFile) failed(op string, err error) syscall.Errno {
	if errors.Is(err, cache.ErrCorrupt) {
		b.kill()
	}
	return b.t.fail(op, b.where(), err)
}

// kill ends a file whose content turned out wrong: every handle of it fails from
// now on, and the next look-up starts afresh.
func (b *blobFile) kill() {
	if !b.killed.CompareAndSwap(false, true) {
		return
	}
	b.t.gens.retire(inoOfBlob(b.digest, b.size), b.repo.name)
	// What the kernel has of it goes too. Not from here: the kernel holds the
	// pages that this very read may be about, and would wait for us.
	b.t.life.background(func() { b.NotifyContent(0, 0) })
}

func (b *blobFile) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	return b.t.answerXattr(b.where(), map[string]string{attrDigest: b.digest.String()}, name, dest)
}

func (b *blobFile) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	return copyNames([]string{attrDigest}, dest)
}

// source is where the cache gets a blob's bytes: a repository that has it.
type source struct {
	repo   *repository
	digest digest.Digest
}

var _ cache.Source = source{}

func (b *blobFile) source() source { return source{b.repo, b.digest} }

func (s source) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	body, err := s.repo.t.registry.OpenBlob(ctx, s.repo.name, s.digest, off, n)
	if err != nil {
		return nil, judged(err)
	}
	return sourceBody{body}, nil
}

// sourceBody is a range on its way.
type sourceBody struct{ io.ReadCloser }

func (b sourceBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	return n, judged(err)
}

// judged says in the cache's words that the registry's blob is not what its
// descriptor promised: then no more of it is to be had, and the file is dead.
func judged(err error) error {
	if errors.Is(err, registry.ErrCorrupt) {
		return fmt.Errorf("%w: %w", cache.ErrCorrupt, err)
	}
	return err
}
