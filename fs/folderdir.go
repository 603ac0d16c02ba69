package fs

import (
	"context"
	"strings"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// folderDir is a directory inside an artifact: part of a layer's title, or
// the links to an index's children.
type folderDir struct {
	directory
	top  *artifactDir
	path string // below top
}

var (
	_ fusefs.NodeLookuper = (*folderDir)(nil)
	_ fusefs.NodeUnlinker = (*folderDir)(nil)
	_ fusefs.NodeRmdirer  = (*folderDir)(nil)
	_ lister              = (*folderDir)(nil)
)

func (d *folderDir) attr() attr    { return plainDir }
func (d *folderDir) where() string { return strings.Join([]string{d.top.where(), d.path}, "/") }

func (d *folderDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return d.top.lookupIn(ctx, &d.Inode, d.path, name, out)
}

func (d *folderDir) Unlink(ctx context.Context, name string) syscall.Errno {
	return d.top.hideIn(ctx, "unlink", d.path, name)
}

func (d *folderDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	return d.top.hideIn(ctx, "rmdir", d.path, name)
}

func (d *folderDir) known() (contents, bool) { return d.top.knownIn(&d.Inode, d.path) }

func (d *folderDir) contents(ctx context.Context) (contents, error) {
	return d.top.contentsOf(ctx, &d.Inode, d.path)
}

func (d *folderDir) gone(ctx context.Context, asked time.Time) bool { return d.top.gone(ctx, asked) }
