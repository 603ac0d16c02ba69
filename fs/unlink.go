package fs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// ghostDigest stands for the digest of what is gone.
const ghostDigest = "gone"

// unseen is hidden in a directory that somebody could not look into.
const unseen = ""

// hide takes one name out of the artifact, until the directory is removed or
// left alone for a minute. Nothing is sent: what deletes is the removal of the
// directory, and a tool gone astray (cp -f, mv, rsync) does not get that far.
func (d *artifactDir) hide(ctx context.Context, dir, name string) error {
	if err := d.t.permitted(ctx, "unlink "+join(dir, name), d.ref()); err != nil {
		return err
	}
	a, err := d.artifact(ctx)
	if err != nil {
		return err
	}
	f := a.root.below(dir)
	if f == nil {
		return errNotFound
	}
	e, ok := f.find(name)
	set := d.t.hidden.of(d.where())
	own, _ := d.learned()
	switch {
	case !ok, set.has(d.hidingFor(a.digest), join(dir, name)):
		return errNotFound
	case own.locked():
		return d.t.audit.end(d.t.audit.entry(ctx, "unlink "+join(dir, name), d.ref().String()), outcomeRefused, own.lockError(d.ref()))
	case e.kind == entryFolder:
		inside, _ := set.in(d.hidingFor(a.digest), join(dir, name))
		for _, child := range e.folder.entries {
			if !inside[child.name] {
				return errNotEmpty
			}
		}
	}
	d.t.hidden.hide(d.where(), d.hidingFor(a.digest), join(dir, name))
	if e.kind == entryFolder {
		// Should it come back, it has to be a new node: see tagsDir.retire.
		d.t.gens.retire(inoOf("folder", join(d.where(), join(dir, name))), a.digest.String())
	}
	return nil
}

// hidingFor is what hidden names are bound to: the manifest and, for a tag, when
// it was pushed. Pushed again, it is a new tag, whatever it points to.
func (d *artifactDir) hidingFor(dgst digest.Digest) string {
	if d.tag == "" {
		return dgst.String()
	}
	own, _ := d.learned()
	return hidingForTag(dgst, own)
}

func hidingForTag(dgst digest.Digest, f facts) string {
	return dgst.String() + " " + strconv.FormatInt(f.updated, 10)
}

func (d *artifactDir) hideIn(ctx context.Context, op, dir, name string) syscall.Errno {
	ctx, done := d.t.opContext(ctx)
	defer done()
	if err := d.hide(ctx, dir, name); err != nil {
		return d.t.fail(op, join(d.where(), join(dir, name)), cause(ctx, err))
	}
	return 0
}

func (d *artifactDir) Unlink(ctx context.Context, name string) syscall.Errno {
	return d.hideIn(ctx, "unlink", "", name)
}

func (d *artifactDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	return d.hideIn(ctx, "rmdir", "", name)
}

// emptied tells, as an error, whether names are left in an artifact's
// directory: only an emptied one can be removed. One whose manifest is missing has
// none. Of one that cannot be read nobody knows: it can be removed by who looked
// inside before, as rm -r does, since what keeps from pulling does not keep from
// cleaning up.
//
// bound is what its hidden names are bound to.
func (r *repository) emptied(ctx context.Context, where, bound string, d digest.Digest) error {
	set := r.t.hidden.of(where)
	a, err := r.t.artifacts.get(ctx, r.name, d)
	switch {
	case errors.Is(err, errNotFound):
		return nil
	case unreadable(err) && set.has(bound, unseen):
		return nil
	case unreadable(err):
		return fmt.Errorf("%w, as far as anybody knows: %w", errNotEmpty, err)
	case err != nil:
		return err
	}
	for _, e := range a.root.entries {
		if !set.has(bound, e.name) {
			return errNotEmpty
		}
	}
	return nil
}
