package fs

import (
	"context"
	"strings"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/opencontainers/go-digest"
)

const (
	dirPerm    = 0o755
	filePerm   = 0o644 // whoever copies a tree can change and delete the copy
	lockedPerm = 0o444

	blockSize = 4096

	// How long the kernel may keep what can never change.
	forever = 24 * time.Hour
	// How long the kernel may keep what nobody knows for sure.
	unsure = time.Second
)

// attr is what stat tells about a node. Times are in nanoseconds since the
// epoch. valid is how long the kernel may believe it.
type attr struct {
	perm  uint32
	nlink uint32
	size  int64
	mtime int64
	btime int64 // 0: same as mtime
	valid time.Duration
}

// plainDir are the attributes of every directory that has no times of its own.
// One link, as on btrfs, means that the number of subdirectories is not told.
var plainDir = attr{perm: dirPerm, nlink: 1, valid: forever}

// digestTime stands in for the time that a registry does not keep: a fixed
// second between 1980 and 1988, derived from the digest. Content that changed
// under the same name and size gets another time, which is what rsync looks at.
func digestTime(d digest.Digest) int64 {
	const (
		from   = 315532800 // 1980-01-01T00:00:00Z: the earliest a zip file can hold
		range8 = 8 * 365 * 24 * 60 * 60
	)
	sum := inoOf("time", d.String())
	return (from + int64(sum%range8)) * int64(time.Second)
}

func (a attr) fill(out *fuse.Attr, uid, gid uint32) {
	out.Mode = out.Mode&syscall.S_IFMT | a.perm
	out.Nlink = a.nlink
	out.Size = uint64(a.size)
	out.Blksize = blockSize
	out.Blocks = uint64(a.size+511) / 512
	out.Uid, out.Gid = uid, gid
	t := time.Unix(0, a.mtime)
	out.SetTimes(&t, &t, &t)
}

// left is how long the kernel may keep what was true at a moment.
func (t *tree) left(at time.Time) time.Duration {
	return max(0, min(t.nameTimeout, t.ttl-time.Since(at)))
}

// fillEntry answers a look-up with a and how long the kernel may keep the name.
func (t *tree) fillEntry(out *fuse.EntryOut, a attr, nameValid time.Duration) {
	a.fill(&out.Attr, t.uid, t.gid)
	out.SetAttrTimeout(a.valid)
	out.SetEntryTimeout(nameValid)
}

func (a attr) fillStatx(out *fuse.StatxOut, uid, gid uint32) {
	const basicAndBirth = 0x7ff | 0x800 // STATX_BASIC_STATS | STATX_BTIME
	out.SetTimeout(a.valid)
	out.Mask = basicAndBirth
	out.Mode = uint16(a.perm)
	out.Nlink = a.nlink
	out.Size = uint64(a.size)
	out.Blksize = blockSize
	out.Blocks = uint64(a.size+511) / 512
	out.Uid, out.Gid = uid, gid
	at := func(ns int64) fuse.SxTime {
		t := time.Unix(0, ns)
		return fuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
	}
	out.Mtime, out.Ctime, out.Atime = at(a.mtime), at(a.mtime), at(a.mtime)
	out.Btime = out.Mtime
	if a.btime != 0 {
		out.Btime = at(a.btime)
	}
}

// node is what every node of the tree has. It answers the operations that
// are the same everywhere and refuses every change: a kind of node that can
// do more says so itself.
type node struct {
	fusefs.Inode
	t *tree
}

// self is a node as the tree sees it. attr never does I/O: what a node says
// of itself was known when it was looked up.
type self interface {
	fusefs.InodeEmbedder
	attr() attr
	where() string // its path below the mount, for the log
}

var (
	_ fusefs.NodeGetattrer     = (*node)(nil)
	_ fusefs.NodeStatxer       = (*node)(nil)
	_ fusefs.NodeStatfser      = (*node)(nil)
	_ fusefs.NodeSetattrer     = (*node)(nil)
	_ fusefs.NodeGetxattrer    = (*node)(nil)
	_ fusefs.NodeListxattrer   = (*node)(nil)
	_ fusefs.NodeSetxattrer    = (*node)(nil)
	_ fusefs.NodeRemovexattrer = (*node)(nil)
	_ fusefs.NodeFsyncer       = (*node)(nil)
)

func (n *node) self() self { return n.Operations().(self) }

func (n *node) Getattr(ctx context.Context, f fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	a := n.self().attr()
	a.fill(&out.Attr, n.t.uid, n.t.gid)
	out.SetTimeout(a.valid)
	return 0
}

// Statx adds the birth time. Without it go-fuse answers ENOSYS, which the
// kernel would remember for every file of the mount.
func (n *node) Statx(ctx context.Context, f fusefs.FileHandle, flags, mask uint32, out *fuse.StatxOut) syscall.Errno {
	n.self().attr().fillStatx(out, n.t.uid, n.t.gid)
	return 0
}

// Statfs answers from constants: df must work when the registry does not. A
// registry does not tell what it holds or what more would fit; the numbers say
// "plenty", so that nothing takes the mount for a full disk.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	const pebibyte = 1 << 50
	*out = fuse.StatfsOut{
		Bsize: blockSize, Frsize: blockSize, NameLen: 255,
		Blocks: pebibyte / blockSize, Bfree: pebibyte / blockSize, Bavail: pebibyte / blockSize,
	}
	return 0
}

func (n *node) Fsync(ctx context.Context, f fusefs.FileHandle, flags uint32) syscall.Errno { return 0 }

func (n *node) Setattr(ctx context.Context, f fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.refuse(ctx, "setattr", "")
}

func (n *node) Setxattr(ctx context.Context, name string, value []byte, flags uint32) syscall.Errno {
	if n.t.writable != nil && !strings.HasPrefix(name, ociPrefix) {
		where := n.self().where()
		return n.t.fail("setxattr", where, n.t.audit.end(n.t.audit.entry(ctx, "setxattr "+name, where), outcomeRefused, cannotSet(nil, name, flags)))
	}
	return n.refuse(ctx, "setxattr "+name, "")
}

func (n *node) Removexattr(ctx context.Context, name string) syscall.Errno {
	return n.refuse(ctx, "removexattr", "")
}
