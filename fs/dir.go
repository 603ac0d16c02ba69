package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// directory is embedded by every kind of directory. It refuses, one by one,
// all that would change a directory: go-fuse answers "done" for an Unlink or
// Rmdir that nobody implements, and drops the child.
type directory struct {
	node
	copy kernelCopy
}

var (
	_ fusefs.NodeCreater   = (*directory)(nil)
	_ fusefs.NodeMkdirer   = (*directory)(nil)
	_ fusefs.NodeMknoder   = (*directory)(nil)
	_ fusefs.NodeSymlinker = (*directory)(nil)
	_ fusefs.NodeLinker    = (*directory)(nil)
	_ fusefs.NodeTmpfiler  = (*directory)(nil)
	_ fusefs.NodeUnlinker  = (*directory)(nil)
	_ fusefs.NodeRmdirer   = (*directory)(nil)
	_ fusefs.NodeRenamer   = (*directory)(nil)
)

func (d *directory) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, d.refuse(ctx, "create", name)
}

func (d *directory) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.refuse(ctx, "mkdir", name)
}

func (d *directory) Mknod(ctx context.Context, name string, mode, dev uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.refuse(ctx, "mknod", name)
}

func (d *directory) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.refuse(ctx, "symlink", name)
}

func (d *directory) Link(ctx context.Context, target fusefs.InodeEmbedder, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.refuse(ctx, "link", name)
}

func (d *directory) Tmpfile(ctx context.Context, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, d.refuse(ctx, "tmpfile", "")
}

func (d *directory) Unlink(ctx context.Context, name string) syscall.Errno {
	return d.refuse(ctx, "unlink", name)
}

func (d *directory) Rmdir(ctx context.Context, name string) syscall.Errno {
	return d.refuse(ctx, "rmdir", name)
}

// Rename is refused outright and never EXDEV, which would make mv copy the
// tree out and then delete it here.
func (d *directory) Rename(ctx context.Context, name string, parent fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	return d.refuse(ctx, "rename", name)
}
