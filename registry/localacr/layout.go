package localacr

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// layout is where an OCI image layout's files are read from. A file that is
// not there is fs.ErrNotExist.
type layout interface {
	open(name string) (io.ReadCloser, error)
	close() error
}

// openLayout opens a folder or an archive.
func (s *Server) openLayout(name string) (layout, error) {
	f, err := os.Open(name)
	if err != nil {
		var withName *fs.PathError
		if errors.As(err, &withName) {
			err = withName.Err // Import says the name
		}
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if info.IsDir() {
		f.Close()
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return folder{root}, nil
	}
	a, err := s.openArchive(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// folder is a layout on disk. Its links lead nowhere outside of it.
type folder struct{ root *os.Root }

func (d folder) open(name string) (io.ReadCloser, error) { return d.root.Open(name) }
func (d folder) close() error                            { return d.root.Close() }

// archive is a layout in a tar file. It remembers where each member lies, so
// that they can be read in any order.
type archive struct {
	f       *os.File
	temp    bool // f is ours to delete
	members map[string]member
}

type member struct{ offset, size int64 }

// memberLimit bounds the table of an archive's members.
const memberLimit = 1 << 20

// openArchive takes f over, unless it fails.
func (s *Server) openArchive(f *os.File) (*archive, error) {
	a := &archive{f: f, members: map[string]member{}}
	magic, _ := bufio.NewReader(f).Peek(2)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if string(magic) == "\x1f\x8b" {
		plain, err := s.unpack(f)
		if err != nil {
			return nil, err
		}
		a.f, a.temp = plain, true
	}
	if err := a.scan(); err != nil {
		if a.temp {
			a.close()
		}
		return nil, err
	}
	if a.temp {
		f.Close()
	}
	return a, nil
}

// unpack writes a compressed archive out beside the uploads.
func (s *Server) unpack(f *os.File) (*os.File, error) {
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	plain, err := os.CreateTemp(s.store.files.uploads, "unpack-")
	if err != nil {
		return nil, err
	}
	if _, err := copyBody(plain, z); err != nil {
		plain.Close()
		os.Remove(plain.Name())
		return nil, err
	}
	_, err = plain.Seek(0, io.SeekStart)
	return plain, err
}

func (a *archive) scan() error {
	r := tar.NewReader(a.f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("neither a folder nor a tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		// The reader has read the header and nothing more.
		offset, err := a.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if len(a.members) == memberLimit {
			return errors.New("the archive has too many members")
		}
		a.members[path.Clean(h.Name)] = member{offset, h.Size}
	}
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	m, ok := a.members[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(a.f, m.offset, m.size)), nil
}

func (a *archive) close() error {
	err := a.f.Close()
	if a.temp {
		os.Remove(a.f.Name())
	}
	return err
}
