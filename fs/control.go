package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ioctlRefresh is the one request that a mount takes beside file operations:
// _IO('a', 0xac), on any directory of component names. An ioctl works on a
// read-only mount and needs no socket that could be left behind.
const ioctlRefresh = 'a'<<8 | 0xac

// How long a refresh waits for the kernel to drop the names it holds. What it
// holds expires by itself within the TTL.
const notifyLimit = 2 * time.Second

// Refresh asks whoever serves the mount at this path to forget every listing
// and property. Only root, who mounted it and the owner of its files may.
func Refresh(mountpoint string) error {
	// By its whole path: below a shell that stood there when it was mounted on,
	// "." is the directory and not the mount.
	path, err := filepath.Abs(mountpoint)
	if err != nil {
		return err
	}
	dir, err := os.Open(path)
	switch {
	case disconnected(err):
		return fmt.Errorf("%s: the acrfs behind it was killed: mount it again, or run acrfs umount %s", mountpoint, mountpoint)
	case err != nil:
		return err
	}
	defer dir.Close()
	err = unix.IoctlSetInt(int(dir.Fd()), ioctlRefresh, 0)
	if errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%s is not an acrfs mount", mountpoint)
	}
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%s: only root, who mounted it and the owner of its files may refresh it", mountpoint)
	}
	return err
}

func (d *componentDir) Ioctl(ctx context.Context, f fusefs.FileHandle, cmd uint32, arg uint64, input, output []byte) (int32, syscall.Errno) {
	if cmd != ioctlRefresh {
		return 0, syscall.ENOTTY
	}
	if !d.t.mayRefresh(ctx) {
		return 0, syscall.EPERM // without a line in the log, which anybody could fill
	}
	d.t.refresh()
	return 0, 0
}

// mayRefresh tells whether the caller may have everything asked anew, with the
// credential of who mounted and at the cost of all others. The kernel asks for no
// right: whoever may open a directory may send the request.
func (t *tree) mayRefresh(ctx context.Context) bool {
	caller, ok := fuse.FromContext(ctx)
	return ok && (caller.Uid == 0 || caller.Uid == uint32(os.Getuid()) || caller.Uid == t.uid)
}

// refresh forgets, and has the kernel forget the names it holds.
func (t *tree) refresh() {
	t.forget()
	done := make(chan struct{})
	t.life.background(func() {
		defer close(done)
		t.root.forgetNames()
	})
	select {
	case <-done:
	case <-time.After(notifyLimit):
	case <-t.life.ctx.Done():
	}
}

// forgetNames drops the kernel's names of all that can change: repositories,
// tags and manifests.
func (d *componentDir) forgetNames() {
	forgetChildren(&d.Inode)
	for _, child := range d.Children() {
		switch ops := child.Operations().(type) {
		case *componentDir:
			ops.forgetNames()
		case *tagsDir, *manifestsDir:
			forgetChildren(child)
		}
	}
}

func forgetChildren(dir *fusefs.Inode) {
	for name := range dir.Children() {
		dir.NotifyEntry(name)
	}
}
