package fs

import (
	"context"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// manifestFile is the manifest.json of an artifact's directory. Unlike blobs
// it is of its path alone: its time and mode are those of the tag or manifest
// that it was found under.
type manifestFile struct {
	node
	dir  *artifactDir
	size int64

	mu    sync.Mutex // guards what follows
	facts facts
	at    time.Time // when facts were true
}

var (
	_ fusefs.NodeOpener      = (*manifestFile)(nil)
	_ fusefs.NodeGetxattrer  = (*manifestFile)(nil)
	_ fusefs.NodeListxattrer = (*manifestFile)(nil)
)

func newManifestFile(ctx context.Context, dir *artifactDir, a *artifact, f facts, at time.Time, out *fuse.EntryOut) *fusefs.Inode {
	known := dir.GetChild(manifestName)
	if known == nil {
		file := &manifestFile{node: node{t: dir.t}, dir: dir, size: int64(len(a.raw))}
		known = dir.NewInode(ctx, file, dir.t.gens.stable(modeFile, inoOf("file", file.where()), a.digest.String()))
	}
	file := known.Operations().(*manifestFile)
	if f.created == 0 {
		f.created = digestTime(a.digest)
	}
	file.mu.Lock()
	file.facts, file.at = f, at
	file.mu.Unlock()
	own := file.attr()
	dir.t.fillEntry(out, own, own.valid)
	return known
}

func (m *manifestFile) where() string { return join(m.dir.where(), manifestName) }

func (m *manifestFile) attr() attr {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := attr{perm: filePerm, nlink: 1, size: m.size, mtime: m.facts.created, valid: m.t.left(m.at)}
	if m.facts.locked() {
		a.perm = lockedPerm
	}
	return a
}

func (m *manifestFile) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, m.refuse(ctx, "open for writing", "")
	}
	ctx, done := m.t.opContext(ctx)
	defer done()
	a, err := m.dir.artifact(ctx)
	if err != nil {
		return nil, 0, m.t.fail("open", m.where(), cause(ctx, err))
	}
	return manifestHandle{a.raw}, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

func (m *manifestFile) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	if errno := foreign(name); errno != 0 {
		return 0, errno
	}
	values, err := m.xattrs(ctx)
	if err != nil {
		return 0, m.t.fail("getxattr", m.where(), err)
	}
	return m.t.answerXattr(m.where(), values, name, dest)
}

func (m *manifestFile) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	values, err := m.xattrs(ctx)
	if err != nil {
		return 0, m.t.fail("listxattr", m.where(), err)
	}
	return copyNames(listable(values), dest)
}

// xattrs are what the manifest itself says.
func (m *manifestFile) xattrs(ctx context.Context) (map[string]string, error) {
	ctx, done := m.t.opContext(ctx)
	defer done()
	a, err := m.dir.artifact(ctx)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return a.xattrs(), nil
}

// manifestHandle is an open manifest.json: its bytes, at most 4 MiB.
type manifestHandle struct{ raw []byte }

var _ fusefs.FileReader = manifestHandle{}

func (h manifestHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if off >= int64(len(h.raw)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(h.raw[off:min(off+int64(len(dest)), int64(len(h.raw)))]), 0
}
