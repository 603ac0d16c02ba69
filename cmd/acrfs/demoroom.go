package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/fs"
)

// demoRoom is where a demo keeps its files, all of which go at its end:
//
//	TMPDIR/acrfs-demo-1234/
//	    lock        locked while the demo runs
//	    mnt/        the mount point, unless the user named another
//	    registry/   the registry's data
//	    cache/      the mount's cache
type demoRoom struct {
	dir        string
	mountpoint string
	made       bool     // the mount point is ours
	lock       *os.File // its lock goes with the process, however that ends
}

const demoPrefix = "acrfs-demo-"

// makeDemoRoom makes the directories of a demo, and removes those of demos
// that were killed. A mount point that the user named and that is not there
// yet is made, and removed at the end.
func makeDemoRoom(mountpoint string) (demoRoom, error) {
	sweepDemoRooms()
	dir, err := os.MkdirTemp("", demoPrefix)
	if err != nil {
		return demoRoom{}, err
	}
	r := demoRoom{dir: dir, mountpoint: mountpoint}
	if r.lock, err = lockRoom(dir, os.O_CREATE); err != nil {
		return demoRoom{}, errors.Join(err, r.remove())
	}
	if mountpoint == "" {
		r.mountpoint = filepath.Join(dir, "mnt")
	}
	// Whatever else is wrong with it is told by the check of mount points.
	r.made = os.Mkdir(r.mountpoint, 0o755) == nil
	return r, nil
}

// remove removes what the demo made. The mount point goes first, and alone: if
// it were still mounted, nothing in it may be touched.
func (r demoRoom) remove() error {
	if r.lock != nil {
		defer r.lock.Close()
	}
	if r.made {
		if err := os.Remove(r.mountpoint); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(r.dir)
}

// lockRoom locks dir's lock file, and fails when a running demo has it.
func lockRoom(dir string, create int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|create, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepDemoRooms removes what demos of this user that were killed have left.
// It is a courtesy: what it cannot remove stays.
func sweepDemoRooms() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), demoPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
			continue
		}
		// One that is just being made has no lock file yet.
		lock, err := lockRoom(dir, 0)
		if err != nil {
			continue
		}
		mnt := filepath.Join(dir, "mnt")
		fs.UnmountLazily(mnt)
		demoRoom{dir: dir, mountpoint: mnt, made: true, lock: lock}.remove()
	}
}
