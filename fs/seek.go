package fs

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// seeking has go-fuse seek before each read of a directory that does not begin at
// its first entry.
//
// The kernel reads again from the middle of an answer when the reader's buffer
// took less than it. go-fuse then repeats the rest of that answer by itself: it
// asks the handle's Lookup for names that Readdirent did not give last, and when
// the rest no longer fits, since attributes come along this time, it leaves
// entries out. A seek makes it forget the answer. It costs some hundred
// nanoseconds for each piece of a listing.
type seeking struct{ fuse.RawFileSystem }

func (s seeking) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if status := s.seek(cancel, in); !status.Ok() {
		return status
	}
	return s.RawFileSystem.ReadDir(cancel, in, out)
}

func (s seeking) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if status := s.seek(cancel, in); !status.Ok() {
		return status
	}
	return s.RawFileSystem.ReadDirPlus(cancel, in, out)
}

// seek reads from past the end of the directory, which gives nothing and is
// where no read goes on from.
func (s seeking) seek(cancel <-chan struct{}, in *fuse.ReadIn) fuse.Status {
	if in.Offset == 0 {
		return fuse.OK
	}
	end := *in
	end.Offset = math.MaxInt64
	return s.RawFileSystem.ReadDir(cancel, &end, fuse.NewDirEntryList(nil, end.Offset))
}
