package fs

import (
	"context"
	"errors"
	"log/slog"
	"syscall"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/registry"
)

// Why an operation of ours fails without the registry or the cache having
// failed.
var (
	errNotFound    = registry.ErrNotFound                           // no such name; the tree knows without asking
	errReadOnly    = errors.New("the mount is read-only")           // every change on a read-only mount
	errNotAllowed  = errors.New("not a change that a registry has") // create, rename, chmod …
	errKilled      = errors.New("the file's content was found to be corrupt")
	errInterrupted = errors.New("the caller was interrupted")
	errMissing     = errors.New("it was listed, but the registry does not have it")
	errNoData      = errors.New("no such attribute")
	errTooBig      = errors.New("attribute value over 64 KiB")
)

// errnos is the errno table (README). The first row that matches
// decides; what matches none is EIO. ENOSYS is not in it and never may be: the
// kernel takes it as "never ask again" for the life of the mount.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{errInterrupted, syscall.EINTR},
	{errMissing, syscall.EIO},          // of a readdir only; see dirHandle.load
	{errKilled, syscall.ESTALE},        // on open only: the VFS then looks the path up again
	{cache.ErrChanged, syscall.ESTALE}, // on open as well: the file that is found then is verified again
	{cache.ErrCorrupt, syscall.EIO},
	{registry.ErrCorrupt, syscall.EIO},
	{registry.ErrNotFound, syscall.ENOENT},
	{registry.ErrLocked, syscall.EPERM},
	{registry.ErrDenied, syscall.EACCES},
	{registry.ErrUnsupported, syscall.ENOTSUP},
	{registry.ErrThrottled, syscall.ETIMEDOUT},
	{registry.ErrTimeout, syscall.ETIMEDOUT},
	{cache.ErrStalled, syscall.ETIMEDOUT},
	{registry.ErrUnavailable, syscall.EIO},
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{errReadOnly, syscall.EROFS},
	{errNotEmpty, syscall.ENOTEMPTY},
	{errNeeded, syscall.EBUSY},
	{errExists, syscall.EEXIST},
	{errInvalid, syscall.EINVAL},
	{errNoName, syscall.EINVAL},
	{errNoSupport, syscall.ENOTSUP},
	{errNotAllowed, syscall.EPERM},
	{errOutside, syscall.EPERM},
	{errBlobs, syscall.EPERM},
	{errMaximum, syscall.EPERM},
	{errMirror, syscall.EPERM},
	{errLocked, syscall.EPERM},
	{errNoData, syscall.ENODATA},
	{errTooBig, syscall.E2BIG},
}

// errnoOf translates an error for the kernel.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return row.errno
		}
	}
	return syscall.EIO
}

// severity is the level of an error in the log. What people do all day without
// anything being wrong (a missing name, an interrupted call, a refused change)
// is Debug; broken content is Error; the rest is Warn.
func severity(err error) slog.Level {
	if errors.Is(err, cache.ErrCorrupt) || errors.Is(err, registry.ErrCorrupt) {
		return slog.LevelError
	}
	switch errnoOf(err) {
	case syscall.ENOENT, syscall.EINTR, syscall.EROFS, syscall.ENODATA, syscall.ESTALE, syscall.ENOTEMPTY:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// fail is how every failed operation ends: it translates err and logs it, here
// and nowhere else. Only changes on a writable mount, and refusals of such, have
// their line from audit.end, which is also the audit log's.
func (t *tree) fail(op, path string, err error) syscall.Errno {
	errno := errnoOf(err)
	t.stats.failures.Add(1)
	if _, told := errors.AsType[writtenDown](err); !told {
		t.log.Log(context.Background(), severity(err), "operation failed",
			"op", op, "path", path, "errno", errno.Error(), "err", err)
	}
	return errno
}
