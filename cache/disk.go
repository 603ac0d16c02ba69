package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// disk names the files of a cache directory; doc.go draws them.
type disk struct {
	dir  string
	lock *os.File
}

func (d disk) index() string { return filepath.Join(d.dir, "index") }
func (d disk) blobs() string { return filepath.Join(d.dir, "blobs") }

// blob is where content with a valid digest is stored.
func (d disk) blob(name digest.Digest) string {
	hex := name.Encoded()
	return filepath.Join(d.dir, "blobs", name.Algorithm().String(), hex[:2], hex)
}

// partial is the key, and the path below dir, of a resumable download.
func (d disk) partial(name digest.Digest) string {
	return filepath.Join("partial", name.Algorithm().String()+"-"+name.Encoded())
}

// openDisk creates and checks the directory and takes its lock. alone says
// that no other process had it open at that moment, and that none can open it
// until share is called.
func openDisk(dir string) (d disk, alone bool, err error) {
	if dir == "" {
		return d, false, errors.New("cache: no directory given")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return d, false, fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return d, false, fmt.Errorf("cache: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return d, false, fmt.Errorf("cache: %s: %w", dir, err)
	}
	// Who may write here may replace what was verified.
	switch {
	case int(st.Uid) != os.Geteuid():
		return d, false, fmt.Errorf("cache: directory %s belongs to user %d, not to %d who runs this", dir, st.Uid, os.Geteuid())
	case st.Mode&0o022 != 0:
		return d, false, fmt.Errorf("cache: directory %s may be written by others (mode %#o); chmod go-w it", dir, st.Mode&0o777)
	}
	d.dir = dir
	for _, sub := range []string{"blobs", "partial", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return d, false, fmt.Errorf("cache: %w", err)
		}
	}
	if d.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return d, false, fmt.Errorf("cache: %w", err)
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return d, true, nil
	}
	return d, false, d.share()
}

// share lets other processes in. It waits while one of them is alone, which
// lasts as long as loading the index.
func (d disk) share() error {
	for {
		err := unix.Flock(int(d.lock.Fd()), unix.LOCK_SH)
		if err != unix.EINTR {
			return err
		}
	}
}

// tryLock takes the lock of a file that its owner holds as long as it uses it.
func tryLock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// createTemp creates a locked file that somebody removes if this process dies
// before it renames it.
func (d disk) createTemp(pattern string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(d.dir, "tmp"), pattern)
	if err != nil {
		return nil, err
	}
	if !tryLock(f) {
		f.Close()
		return nil, errors.New("a new file is locked already")
	}
	return f, nil
}

// store moves a finished file to where name is stored and returns the
// fingerprint it has there.
func (d disk) store(f *os.File, name digest.Digest) (fingerprint, error) {
	path := d.blob(name)
	err := os.Rename(f.Name(), path)
	if errors.Is(err, os.ErrNotExist) { // the first of its shard
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.Rename(f.Name(), path)
		}
	}
	if err != nil {
		return fingerprint{}, err
	}
	// After the rename, which changes ctime.
	_, print, err := statFile(f)
	return print, err
}

// statFile is the size and the fingerprint of an open file.
func statFile(f *os.File) (size int64, print fingerprint, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fingerprint{}, err
	}
	return st.Size, fingerprint{st.Ino, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// unlinked tells whether an open file has no name any more.
func unlinked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// sweep removes what dead processes left: temporary files nobody has locked,
// and partials without their map. It reports the partials that can be resumed.
// Only who is alone may call it: a file is created first and locked then.
func (d disk) sweep(resumable func(key string, name digest.Digest, bytes, used int64)) {
	tmp := filepath.Join(d.dir, "tmp")
	for _, name := range listNames(tmp) {
		file, err := os.Open(filepath.Join(tmp, name))
		if err != nil {
			continue
		}
		// Locked by a process that is trying whether it is alone itself.
		if tryLock(file) {
			os.Remove(file.Name())
		}
		file.Close()
	}
	for _, name := range listNames(d.dir) {
		if strings.HasPrefix(name, "index-") {
			os.Remove(filepath.Join(d.dir, name))
		}
	}
	partials := listNames(filepath.Join(d.dir, "partial"))
	present := make(map[string]bool, len(partials))
	for _, name := range partials {
		present[name] = true
	}
	for _, name := range partials {
		path := filepath.Join(d.dir, "partial", name)
		base, isMap := strings.CutSuffix(name, mapSuffix)
		blob, ok := partialOf(base)
		if !ok || !present[base] || !present[base+mapSuffix] {
			os.Remove(path)
			continue
		}
		var st unix.Stat_t
		if !isMap && unix.Lstat(path, &st) == nil {
			resumable(d.partial(blob), blob, st.Blocks*512, st.Mtim.Nano()/1e6)
		}
	}
}

// partialOf is the blob of a partial with that name.
func partialOf(name string) (digest.Digest, bool) {
	blob := digest.Digest(strings.Replace(name, "-", ":", 1))
	return blob, validDigest([]byte(blob))
}

// abandoned is what sweep is, for those who are not alone: it goes by the locks
// of the files. It reports the partials that nobody has open, but those in mine,
// and removes the private downloads of dead processes. found says whether there
// were any.
func (d disk) abandoned(mine func(key string) bool, resumable func(key string, name digest.Digest, bytes, used int64)) (found bool) {
	for _, name := range listNames(filepath.Join(d.dir, "partial")) {
		blob, ok := partialOf(name)
		key := filepath.Join("partial", name)
		if !ok || mine(key) {
			continue
		}
		file := lockAbandoned(filepath.Join(d.dir, key))
		if file == nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(int(file.Fd()), &st) == nil {
			resumable(key, blob, st.Blocks*512, st.Mtim.Nano()/1e6)
			found = true
		}
		file.Close()
	}
	for _, name := range listNames(filepath.Join(d.dir, "tmp")) {
		path := filepath.Join(d.dir, "tmp", name)
		info, err := os.Lstat(path)
		if err != nil || !strings.HasPrefix(name, privatePrefix) || time.Since(info.ModTime()) < orphanAge {
			continue
		}
		if file := lockAbandoned(path); file != nil {
			os.Remove(path)
			file.Close()
			found = true
		}
	}
	return found
}

// lockAbandoned opens and locks a file of a download that nobody has locked; nil
// when somebody has, or it is gone.
func lockAbandoned(path string) *os.File {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	if !tryLock(file) || !samePath(file, path) {
		file.Close()
		return nil
	}
	return file
}

// orphanAge is how long nobody must have written to a private download that is
// to be tried: a file is created first and locked then.
const orphanAge = time.Minute

// allocated is the disk space of all partial files beyond what is counted for each.
func (d disk) allocated(counted func(key string) int64) int64 {
	var sum int64
	for _, sub := range []string{"partial", "tmp"} {
		for _, name := range listNames(filepath.Join(d.dir, sub)) {
			var st unix.Stat_t
			if sub == "tmp" && !strings.HasPrefix(name, privatePrefix) {
				continue // small, and gone in a moment
			}
			if key := filepath.Join(sub, name); unix.Lstat(filepath.Join(d.dir, key), &st) == nil {
				sum += max(0, st.Blocks*512-counted(key))
			}
		}
	}
	return sum
}

// listNames lists a directory; nothing when it cannot be read.
func listNames(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	return names
}

// DefaultSize is the Size of a cache in dir that was given none: 20 % of the
// disk's free space, at most 10 GiB. dir need not exist.
func DefaultSize(dir string) (int64, error) {
	free, err := freeSpace(dir)
	return defaultSize(free), err
}

func defaultSize(free int64) int64 { return min(10<<30, free/5) }

func freeSpace(dir string) (int64, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return 0, fmt.Errorf("cache: %w", err)
	}
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return int64(min(st.Bavail, 1<<50)) * st.Bsize, nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, os.ErrNotExist) || parent == path {
			return 0, fmt.Errorf("cache: free space of %s: %w", dir, err)
		}
		path = parent
	}
}
