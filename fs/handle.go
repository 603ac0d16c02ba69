package fs

import (
	"context"
	"errors"
	"io"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/acrfs/acrfs/cache"
)

// blobHandle is an open blob.
type blobHandle struct {
	file        *blobFile
	blob        *cache.Blob
	passthrough bool // as decided on open
	keepPages   bool // so was this
}

var (
	_ fusefs.FileReader          = (*blobHandle)(nil)
	_ fusefs.FileReleaser        = (*blobHandle)(nil)
	_ fusefs.FilePassthroughFder = (*blobHandle)(nil)
)

// PassthroughFd is asked only for the first of the passthrough handles that
// are open on an inode at a time; go-fuse has the others join it.
func (h *blobHandle) PassthroughFd() (int, bool) {
	f, whole := h.blob.File()
	if !h.passthrough || !whole {
		return 0, false
	}
	return int(f.Fd()), true
}

func (h *blobHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if h.file.killed.Load() {
		return nil, h.file.t.fail("read", h.file.where(), cache.ErrCorrupt)
	}
	if !h.keepPages {
		h.file.mode.dropped()
	}
	if off >= h.file.size {
		return fuse.ReadResultData(nil), 0
	}
	h.file.t.stats.reads.Add(1)
	want := min(int64(len(dest)), h.file.size-off)
	if f, ok := h.blob.File(); ok {
		if h.blob.Changed() {
			return nil, h.file.t.fail("read", h.file.where(), cache.ErrCorrupt)
		}
		return fuse.ReadResultFd(f.Fd(), off, int(want)), 0
	}
	ctx, done := h.file.t.opContext(ctx)
	defer done()
	n, err := h.blob.ReadAt(ctx, dest[:want], off)
	if int64(n) == want {
		if !h.blob.Verified() {
			h.file.mode.doubt()
		}
		return fuse.ReadResultData(dest[:n]), 0
	}
	// Never a short answer: the kernel would take it for the end of the file.
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, h.file.failed("read", cause(ctx, err))
}

func (h *blobHandle) Release(ctx context.Context) syscall.Errno {
	h.blob.Changed() // while someone hears of it: the kernel may have pages from after that
	h.file.mode.release(h.passthrough, h.blob.Verified())
	h.blob.Close()
	return 0
}
