package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotMounted says that there is no acrfs mount at a path.
	ErrNotMounted = errors.New("not an acrfs mount")
	// ErrMounted says that a mount point is taken by a mount that lives.
	ErrMounted = errors.New("already mounted")
	// ErrNoAnswer says that a mount is there and its daemon hangs.
	ErrNoAnswer = errors.New("the mount does not answer")
)

// probeLimit is how long a mount may take to answer for its own root, which
// never touches the network, before it counts as hanging.
const probeLimit = 5 * time.Second

// PrepareMountpoint checks that path can be mounted on - an empty directory
// that the caller may write, not an acrfs mount already - and returns its
// absolute path without symlinks. Every error says what would be right.
//
// A mount that a killed daemon left behind is detached, and repaired is true.
// Only a mount of our own type whose connection is gone counts as such: one
// that hangs may still wake up, and is ErrNoAnswer; one that lives is
// ErrMounted.
func PrepareMountpoint(ctx context.Context, path string) (dir string, repaired bool, err error) {
	dir, err = resolveMountpoint(path)
	if err != nil {
		return "", false, err
	}
	// Daemons killed one after another leave their mounts on top of each other.
	for range 16 {
		mounts, err := readMounts()
		if err != nil {
			return "", repaired, err
		}
		top, mounted := topMount(mounts, dir)
		if !mounted || top.fstype != mountType {
			return dir, repaired, checkDirectory(dir)
		}
		switch err := probe(ctx, dir); {
		case err == nil:
			return "", repaired, fmt.Errorf("%s is %w by acrfs, with %s: run \"acrfs umount %s\" first or choose another directory", dir, ErrMounted, top.source, dir)
		case !disconnected(err):
			return "", repaired, fmt.Errorf("%s is mounted by acrfs already: %w", dir, err)
		}
		if err := UnmountLazily(dir); err != nil {
			return "", repaired, fmt.Errorf("detach the dead mount on %s: %w", dir, err)
		}
		repaired = true
	}
	return "", repaired, fmt.Errorf("%s has too many dead mounts on top of each other: umount -l %s", dir, dir)
}

// resolveMountpoint makes path absolute and follows symlinks. It does not look
// at the last directory itself when something is mounted there: a dead mount
// cannot be looked at, and a hanging one must not hang us.
func resolveMountpoint(path string) (string, error) {
	if path == "" {
		return "", errors.New("the mount point is empty: name a directory")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	mounts, err := readMounts()
	if err != nil {
		return "", err
	}
	// As many links as the kernel follows (path_resolution(7)).
	for range 40 {
		parent, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", explainMissing(filepath.Dir(path), err)
		}
		path = filepath.Join(parent, filepath.Base(path))
		if _, mounted := topMount(mounts, path); mounted {
			return path, nil
		}
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link; whether it is there is checked later
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(parent, link)
		}
		path = filepath.Clean(link)
	}
	return "", fmt.Errorf("%s: %w", path, unix.ELOOP)
}

func explainMissing(dir string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: create it first (mkdir -p %s)", dir, dir)
	case disconnected(err):
		return fmt.Errorf("%s lies inside a dead mount: unmount that first: %w", dir, err)
	}
	return err
}

// checkDirectory wants an empty directory. What a mount hides is confusing at
// best, and programs that write there before the mount and after it end up
// with two halves.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return explainMissing(dir, err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: name an empty directory", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return fmt.Errorf("%s is not empty (it has %q): name an empty directory", dir, names[0])
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	// fusermount3's own rule; asked here because its message goes elsewhere.
	if !privileged() && unix.Access(dir, unix.W_OK) != nil {
		return fmt.Errorf("%s is not writable for you: fusermount3 mounts only where you may write", dir)
	}
	return nil
}

// probe asks the mount on dir for its root's attributes and returns nil when
// it answers, the kernel's error when the connection is gone, and ErrNoAnswer
// when there is neither within probeLimit.
func probe(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	answer := make(chan error, 1)
	// The question may hang as long as the daemon does. Nobody can take it
	// back, so this goroutine is left behind in that case.
	go func() {
		var st unix.Statx_t
		// FORCE_SYNC: the kernel remembers a dead mount's attributes for a while.
		answer <- unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w within %v: \"acrfs umount --lazy %s\" detaches it", ErrNoAnswer, probeLimit, dir)
	}
}

// disconnected reports whether err is what the kernel says about a mount whose
// daemon is gone.
func disconnected(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}
