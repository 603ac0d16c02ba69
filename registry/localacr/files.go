package localacr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	berrors "go.etcd.io/bbolt/errors"
)

// files are the blobs on disk, named by their digest, and the uploads that may
// become some.
//
//	ROOT/blobs/sha256/2f/2f1c…   whole and durable from the moment the name exists
//	ROOT/uploads/UUID            what has arrived of an upload
//
// A file says nothing about who may see it: that is the database's business,
// and a file nobody holds is only waiting to be collected.
type files struct {
	blobs, uploads string
	busy           *keylock
	ready          *sync.Map // folders whose own names are known to be on disk
}

func openFiles(root string) (files, error) {
	f := files{filepath.Join(root, "blobs"), filepath.Join(root, "uploads"), &keylock{}, &sync.Map{}}
	if err := os.MkdirAll(f.uploads, 0o700); err != nil {
		return f, err
	}
	for _, algorithm := range []string{"sha256", "sha512"} {
		if err := os.MkdirAll(filepath.Join(f.blobs, algorithm), 0o700); err != nil {
			return f, err
		}
	}
	return f, errors.Join(syncFile(f.blobs), syncFile(root))
}

// makeFolder creates a blob's folder durably, once per process.
func (f files) makeFolder(path string) error {
	dir := filepath.Dir(path)
	if _, ok := f.ready.Load(dir); ok {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncFile(filepath.Dir(dir)); err != nil {
		return err
	}
	f.ready.Store(dir, true)
	return nil
}

// path is where the blob of a valid digest is.
func (f files) path(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return filepath.Join(f.blobs, algorithm, hex[:2], hex)
}

// whole reports whether a blob's file is there and not cut short.
func (f files) whole(digest string, size int64) (bool, error) {
	info, err := os.Stat(f.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Size() == size, err
}

// open opens a blob for reading.
func (f files) open(digest string) (*os.File, error) { return os.Open(f.path(digest)) }

// adopt makes the file temp, whose content has the given digest and size, that
// blob's file, unless it has one already that is not cut short, and then calls
// link, all while nobody else adds or removes this blob. The blob is on disk
// before link is called: a crash leaves either nothing, or a file without a
// holder, or all of it.
func (f files) adopt(ctx context.Context, temp, digest string, size int64, link func() error) error {
	unlock, err := f.busy.lock(ctx, digest)
	if err != nil {
		return err
	}
	defer unlock()
	whole, err := f.whole(digest, size)
	if err != nil {
		return err
	}
	if whole {
		if err := os.Remove(temp); err != nil {
			return err
		}
		return link()
	}
	path := f.path(digest)
	if err := f.makeFolder(path); err != nil {
		return err
	}
	if err := syncFile(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if err := syncFile(filepath.Dir(path)); err != nil {
		return err
	}
	return link()
}

// syncFile makes a file's content, or a directory's entries, durable.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// copyBuffers are what bodies are copied through: large enough that hashing,
// not system calls, is the work.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// copyBody copies without the shortcuts that would bypass w.
func copyBody(w io.Writer, r io.Reader) (int64, error) {
	b := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *b)
}

// take stores a blob that does not come over HTTP: from a seed or an import.
// One that is there is kept from being collected for a while.
func (s *Server) take(ctx context.Context, repo, digest string, r io.Reader) error {
	known, err := s.touched.touch(ctx, repo, digest)
	if err != nil {
		return err
	}
	st := s.store
	var b blobRecord
	if known {
		if err := st.view(func(v view) (err error) { b, known, err = v.blob(repo, digest); return err }); err != nil {
			return err
		}
	}
	if known {
		if whole, err := st.files.whole(digest, b.Size); err != nil || whole {
			return err
		}
	}
	temp, err := os.CreateTemp(st.files.uploads, "take-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails once the file was adopted
	algorithm, _, _ := strings.Cut(digest, ":")
	h := newHash(algorithm)
	size, err := copyBody(io.MultiWriter(temp, h), r)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if got := digestString(algorithm, h); got != digest {
		return fmt.Errorf("blob %s has the content of %s", digest, got)
	}
	return st.adopt(ctx, temp.Name(), repo, digest, size)
}

// adopt gives the repository a blob whose content lies in temp.
func (st *store) adopt(ctx context.Context, temp, repo, digest string, size int64) error {
	return st.files.adopt(ctx, temp, digest, size, func() error {
		return st.commit.do(ctx, func(e edit) error { return e.linkBlob(repo, digest, size, instant()) })
	})
}

// removeUnheld deletes a blob's file unless a repository has it, and returns
// its size, or -1 if it stays.
func (st *store) removeUnheld(ctx context.Context, digest string) (int64, error) {
	unlock, err := st.files.busy.lock(ctx, digest)
	if err != nil {
		return -1, err
	}
	defer unlock()
	held := false
	if err := st.view(func(v view) error { held = v.held(digest); return nil }); err != nil || held {
		return -1, err
	}
	info, err := os.Stat(st.files.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	return info.Size(), os.Remove(st.files.path(digest))
}

// dropUploads deletes what uploads left behind that nobody has touched since
// the given time, and returns when the latest of the others was.
func (f files) dropUploads(before time.Time) (latest time.Time, err error) {
	d, err := os.Open(f.uploads)
	if err != nil {
		return latest, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1024)
		for _, entry := range entries {
			info, err := entry.Info()
			switch {
			case err != nil: // gone
			case info.ModTime().Before(before):
				os.Remove(filepath.Join(f.uploads, entry.Name()))
			case info.ModTime().After(latest):
				latest = info.ModTime()
			}
		}
		if errors.Is(err, io.EOF) {
			return latest, nil
		}
		if err != nil {
			return latest, err
		}
	}
}

// isClosed reports whether err comes from a database that was closed.
func isClosed(err error) bool {
	return errors.Is(err, errClosed) || errors.Is(err, berrors.ErrDatabaseNotOpen)
}
