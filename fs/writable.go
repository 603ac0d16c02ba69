package fs

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/acrfs/acrfs/registry"
)

// Writable says what a mount may change. Its zero value lets everything be
// deleted and every flag be set, with the protection of what is live.
type Writable struct {
	// Prefix limits changes to this repository and those below it. "": all.
	Prefix string
	// MaxDeletes is how many deletions the mount does at most. 0: no limit.
	MaxDeletes int
	// AllowBlobDelete lets blobs be deleted by themselves.
	AllowBlobDelete bool
	// AllowOrphaning lifts the protection of manifests that a live index or a
	// live subject needs. It lifts no lock.
	AllowOrphaning bool
	// DryRun sends nothing: what would have been done is logged, and this
	// mount takes it as done until it is unmounted.
	DryRun bool
	// Audit gets each change and each refusal as a line of JSON, written
	// before the change is sent and again with its outcome. When it cannot be
	// written, nothing is changed. nil: the log alone.
	Audit io.Writer
}

// Why a change is refused although the mount is writable.
var (
	errOutside   = errors.New("outside the prefix that is writable")
	errBlobs     = errors.New("blobs are deleted only with AllowBlobDelete")
	errMaximum   = errors.New("the mount's maximum of deletions is reached")
	errMirror    = errors.New("rsync deletes nothing here, since it might be copying in the wrong direction; rm does")
	errLocked    = errors.New("locked")
	errNotEmpty  = errors.New("not empty")
	errNeeded    = errors.New("something live needs it")
	errExists    = errors.New("the attribute exists already")
	errInvalid   = errors.New("the value is neither true nor false")
	errNoName    = errors.New("the attribute's name is empty")
	errNoSupport = errors.New("no such attribute can be set")
	errNoAudit   = errors.New("the audit log cannot be written")
)

// permit tells whether a repository may be changed at all.
func (t *tree) permit(repo string) error {
	w := t.writable
	switch {
	case w == nil:
		return errReadOnly
	case w.Prefix == "" || repo == w.Prefix || strings.HasPrefix(repo, w.Prefix+"/"):
		return nil
	}
	return errOutside
}

// permitted is permit, with a refusal on a writable mount written down.
func (t *tree) permitted(ctx context.Context, action string, ref registry.Ref) error {
	err := t.permit(ref.Repository)
	if err != nil && t.writable != nil {
		return t.audit.end(t.audit.entry(ctx, action, ref.String()), outcomeRefused, err)
	}
	return err
}

// refused writes down that an item is not removed because something is left in
// it. Other errors are none of ours, or have their line already.
func (t *tree) refused(ctx context.Context, action string, ref registry.Ref, err error) error {
	if errors.Is(err, errNotEmpty) {
		return t.audit.end(t.audit.entry(ctx, action, ref.String()), outcomeRefused, err)
	}
	return err
}

// budget counts deletions against Writable.MaxDeletes.
type budget struct {
	max  int64 // 0: no limit
	used atomic.Int64
}

// take reserves one deletion; release gives it back when it was not done.
func (b *budget) take() bool {
	if b.used.Add(1) > b.max && b.max > 0 {
		b.used.Add(-1)
		return false
	}
	return true
}

func (b *budget) release() { b.used.Add(-1) }

// refuse answers a change that no registry has, or that a read-only mount does
// not do.
func (n *node) refuse(ctx context.Context, op, name string) syscall.Errno {
	path := n.self().where()
	if name != "" {
		path = join(path, name)
	}
	err := errReadOnly
	if n.t.writable != nil {
		err = n.t.audit.end(n.t.audit.entry(ctx, op, path), outcomeRefused, errNotAllowed)
	}
	return n.t.fail(op, path, err)
}
