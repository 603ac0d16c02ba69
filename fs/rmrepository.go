package fs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// Rmdir removes _tags, _manifests or _blobs when nothing is left in them, which
// sends nothing, or a component of repository names when the registry, asked
// afresh, has nothing left below it; that deletes the repository.
func (d *componentDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	where := join(d.where(), name)
	if d.path == "" {
		where = d.where() + name
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	var err error
	if d.path != "" && d.repository.Load() && slices.Contains(repositoryDirs, name) {
		err = d.hideEmpty(ctx, name)
	} else {
		err = d.t.removeComponent(ctx, join(d.path, name))
		d.t.hidden.of(where).restore() // removed or refused, nothing of it is hidden now
		if err == nil {
			d.t.gens.retire(inoOf("component", join(d.path, name)))
		}
	}
	if err != nil {
		return d.t.fail("rmdir", where, cause(ctx, err))
	}
	return 0
}

// hideEmpty hides one of a repository's own directories, like a name unlinked
// in an artifact.
func (d *componentDir) hideEmpty(ctx context.Context, name string) error {
	if err := d.t.permitted(ctx, "rmdir "+name, d.ref()); err != nil {
		return err
	}
	if d.hides(name) {
		return errNotFound
	}
	left, err := d.t.repository(d.path).left(ctx, name, time.Time{})
	switch {
	case err != nil:
		return err
	case left > 0:
		return errNotEmpty
	}
	d.t.hidden.hide(d.where(), "", name)
	// Should it come back, it has to be a new node: see tagsDir.retire.
	d.t.gens.retire(inoOf(name, d.path))
	return nil
}

// hides tells whether one of the repository's own directories was removed and
// is still known to be empty. Once that is not known it shows until it is removed
// again: who was shown it can remove it, whatever a look inside tells then. No I/O.
func (d *componentDir) hides(name string) bool {
	set := d.t.hidden.of(d.where())
	age, hidden := set.age("", name)
	if !hidden {
		return false
	}
	r := d.t.repository(d.path)
	empty := age < d.t.ttl
	switch name {
	case tagsName:
		s := r.tags.fresh()
		empty = s != nil && len(r.visibleTags(s)) == 0
	case manifestsName:
		s := r.manifests.fresh()
		empty = s != nil && len(r.visibleManifests(s)) == 0
	}
	if !empty {
		set.show(name)
	}
	return empty
}

// left counts what one of the repository's directories still holds, as listed
// after a moment. A repository that is gone holds nothing.
func (r *repository) left(ctx context.Context, name string, since time.Time) (n int, err error) {
	switch name {
	case tagsName:
		var s *snapshot[tagList]
		if s, err = r.tags.since(ctx, since); err == nil {
			n = len(r.visibleTags(s))
		}
	case manifestsName:
		var s *snapshot[*manifestList]
		if s, err = r.manifests.since(ctx, since); err == nil {
			n = len(r.visibleManifests(s))
		}
	}
	if errors.Is(err, errNotFound) {
		return 0, nil
	}
	return n, err
}

// removeComponent removes what is at a path of the catalog.
func (t *tree) removeComponent(ctx context.Context, name string) error {
	if err := t.permittedDeletion(ctx, "delete repository", registry.Ref{Repository: name}); err != nil {
		return err
	}
	if ghost := t.changedRepositories.ghost(name) || t.changedFolders.ghost(name); ghost && !t.shows(name) {
		t.changedRepositories.lay(name)
		t.changedFolders.lay(name)
		return nil
	}
	cat, err := t.catalog.since(ctx, time.Now())
	if err != nil {
		return err
	}
	comp := t.visible(cat).components[name]
	if comp != nil && len(comp.children) > 0 {
		return t.refused(ctx, "delete repository", registry.Ref{Repository: name}, errNotEmpty)
	}
	r := t.repository(name)
	err = r.checkEmpty(ctx)
	switch {
	case errors.Is(err, errNotFound) && r.changedManifests.recently() > 0:
		// It went with its last manifest, a little late.
		t.noteRepositoryGone(name, (*changes).remove)
		return nil
	case err != nil:
		return t.refused(ctx, "delete repository", registry.Ref{Repository: name}, err)
	}
	return r.deleteRepository(ctx)
}

// shows tells whether the listings at hand have something at a path of the
// catalog: what went along may have been pushed again. No I/O.
func (t *tree) shows(name string) bool {
	if cat := t.catalog.last(); cat != nil && t.visible(cat).components[name] != nil {
		return true
	}
	r := t.repository(name)
	tags, manifests := r.tags.last(), r.manifests.last()
	return tags != nil && len(r.visibleTags(tags)) > 0 || manifests != nil && len(r.visibleManifests(manifests)) > 0
}

// checkEmpty asks the registry afresh whether the repository has anything
// left, including what it hides from listings.
func (r *repository) checkEmpty(ctx context.Context) error {
	now := time.Now()
	for _, name := range []string{tagsName, manifestsName} {
		left, err := r.left(ctx, name, now)
		switch {
		case err != nil:
			return err
		case left > 0:
			return errNotEmpty
		}
	}
	for limit := time.Now().Add(settleLimit); ; {
		left, settling, err := r.count(ctx)
		switch {
		case err != nil:
			return err
		case left == 0:
			return nil
		case !settling || time.Now().After(limit):
			return fmt.Errorf("%w: %d manifests that are not listed", errNotEmpty, left)
		}
		if err := pause(ctx, settlePoll); err != nil {
			return err
		}
	}
}

// How long a registry's counts may take to follow a deletion: what is counted
// after that, and not in the list, is unlisted, and must not go with the repository.
const (
	settleLimit = 10 * time.Second
	settlePoll  = 250 * time.Millisecond
)

// count asks how many manifests the repository has, unlisted ones included.
// settling is true while that may include what this mount deleted.
func (r *repository) count(ctx context.Context) (left int, settling bool, err error) {
	p, err := r.t.propertiesSince(ctx, registry.Ref{Repository: r.name}, time.Now())
	if err != nil {
		return 0, false, err
	}
	left, gone := p.properties.ManifestCount, r.changedManifests.recently()
	if r.t.writable.DryRun {
		return max(0, left-gone), false, nil
	}
	return left, left <= gone, nil
}

// wentAlong tells whether the repository went with its last manifest that is
// listed: it stays when it has others, and when nobody knows.
func (r *repository) wentAlong(ctx context.Context) bool {
	left, _, err := r.count(ctx)
	if !r.t.writable.DryRun || err != nil || left > 0 {
		return errors.Is(err, errNotFound)
	}
	return r.repositoryLock(ctx, registry.Ref{Repository: r.name}) == nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// noteRepositoryGone notes that a repository is gone, and the components above
// it that have nothing left below them.
func (t *tree) noteRepositoryGone(name string, note func(c *changes, key string, stamp int64)) {
	note(&t.changedRepositories, name, 0)
	t.unlisted.note(name, false)
	cat := t.catalog.last()
	if cat == nil {
		return
	}
	for above := path.Dir(name); above != "."; above = path.Dir(above) {
		if t.visible(cat).components[above] != nil {
			return
		}
		t.changedFolders.takeAlong(above, 0)
	}
}
