package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// link is a symlink from an index to one of its children.
type link struct {
	node
	path   string
	target string
}

var _ fusefs.NodeReadlinker = (*link)(nil)

func newLink(ctx context.Context, parent *fusefs.Inode, path, name, target string, t *tree, out *fuse.EntryOut) *fusefs.Inode {
	known := parent.GetChild(name)
	if known == nil {
		known = parent.NewInode(ctx, &link{node: node{t: t}, path: path, target: target},
			t.gens.stable(modeSymlink, inoOf("link", path), target))
	}
	l := known.Operations().(*link)
	t.fillEntry(out, l.attr(), forever)
	return known
}

func (l *link) attr() attr {
	return attr{perm: 0o777, nlink: 1, size: int64(len(l.target)), valid: forever}
}

func (l *link) where() string { return l.path }

func (l *link) Readlink(ctx context.Context) ([]byte, syscall.Errno) { return []byte(l.target), 0 }
