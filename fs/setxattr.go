package fs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/registry"
)

// setters are the attributes that can be set: the four flags.
var setters = map[string]func(*registry.AccessPatch, *bool){
	"user.acr.can_delete": func(p *registry.AccessPatch, v *bool) { p.CanDelete = v },
	"user.acr.can_write":  func(p *registry.AccessPatch, v *bool) { p.CanWrite = v },
	"user.acr.can_list":   func(p *registry.AccessPatch, v *bool) { p.CanList = v },
	"user.acr.can_read":   func(p *registry.AccessPatch, v *bool) { p.CanRead = v },
}

// editable is a node whose flags can be set. changed takes what the registry
// said afterwards.
type editable interface {
	propertied
	ref() registry.Ref
	changed(p registry.Properties)
}

// setxattr sets one flag, and only that one, whatever else happened to the item
// in between. It goes on when its caller leaves, like a deletion, so that its
// outcome is noted in any case.
func (t *tree) setxattr(ctx context.Context, n editable, rows []xattr, name string, value []byte, flags uint32) syscall.Errno {
	ctx, done := t.opContext(ctx)
	defer done()
	if err := t.setFlag(ctx, n, rows, name, value, flags); err != nil {
		return t.fail("setxattr", n.where(), cause(ctx, err))
	}
	return 0
}

func (t *tree) setFlag(ctx context.Context, n editable, rows []xattr, name string, value []byte, flags uint32) error {
	action := fmt.Sprintf("set %s=%.20s", strings.TrimPrefix(name, "user.acr."), strings.TrimRight(string(value), "\n\x00"))
	if err := t.permitted(ctx, action, n.ref()); err != nil {
		return err
	}
	line := t.audit.entry(ctx, action, n.ref().String())
	patch, before, err := t.checkFlag(ctx, n, rows, name, value, flags)
	if err != nil {
		return t.audit.end(line, outcomeRefused, err)
	}
	// Each is sent, even beside its like: another value may have come between.
	return t.life.detached(ctx, changeLimit, func(ctx context.Context) error {
		after, outcome, err := t.update(ctx, n.ref(), patch, before, line)
		if err == nil {
			n.changed(after)
		}
		return t.audit.end(line, outcome, err)
	})
}

// checkFlag makes the patch that sets one flag, of an item that has such flags.
func (t *tree) checkFlag(ctx context.Context, n editable, rows []xattr, name string, value []byte, flags uint32) (patch registry.AccessPatch, before registry.Properties, err error) {
	set, ok := setters[name]
	if !ok {
		return patch, before, cannotSet(rows, name, flags)
	}
	on, err := parseFlag(value)
	if err != nil {
		return patch, before, err
	}
	if before, err = n.properties(ctx); err != nil {
		return patch, before, err
	}
	switch {
	case !before.Access.Known:
		return patch, before, fmt.Errorf("%w: the registry keeps no flags", registry.ErrUnsupported)
	case flags&unix.XATTR_CREATE != 0:
		return patch, before, errExists // where there are flags, all four are there
	}
	set(&patch, &on)
	return patch, before, nil
}

// update sends a patch, or does as if.
func (t *tree) update(ctx context.Context, ref registry.Ref, patch registry.AccessPatch, before registry.Properties, line auditLine) (after registry.Properties, outcome string, err error) {
	if t.writable.DryRun {
		before.Access = patched(before.Access, patch)
		return before, outcomeDryRun, nil
	}
	if err := t.audit.begin(line); err != nil {
		return before, outcomeRefused, err
	}
	after, err = t.registry.Update(ctx, ref, patch)
	if err != nil {
		return before, outcomeFailed, err
	}
	return after, outcomeDone, nil
}

func patched(a registry.Access, p registry.AccessPatch) registry.Access {
	for _, f := range []struct{ to, from *bool }{
		{&a.CanDelete, p.CanDelete}, {&a.CanWrite, p.CanWrite}, {&a.CanList, p.CanList}, {&a.CanRead, p.CanRead},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return a
}

// cannotSet says why: what exists is read-only, what does not cannot be made.
func cannotSet(rows []xattr, name string, flags uint32) error {
	switch {
	case slices.ContainsFunc(rows, func(x xattr) bool { return x.name == name }):
		return errNotAllowed
	case name == userPrefix:
		return errNoName
	case strings.HasPrefix(name, userPrefix) && flags&unix.XATTR_REPLACE != 0:
		return errNoData
	}
	return errNoSupport
}

// parseFlag reads true or false, as echo or a C string would also leave it.
func parseFlag(value []byte) (bool, error) {
	switch strings.TrimRight(string(value), "\n\x00") {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errInvalid
}

// removexattr refuses: attributes are the registry's.
func (t *tree) removexattr(ctx context.Context, where string, ref registry.Ref, rows []xattr, name string) syscall.Errno {
	err := t.permit(ref.Repository)
	if err == nil {
		err = cannotSet(rows, name, unix.XATTR_REPLACE) // what cannot be replaced cannot be removed
	}
	if t.writable != nil {
		err = t.audit.end(t.audit.entry(ctx, "remove "+name, ref.String()), outcomeRefused, err)
	}
	return t.fail("removexattr", where, err)
}

func (d *componentDir) ref() registry.Ref { return registry.Ref{Repository: d.path} }

func (d *componentDir) changed(p registry.Properties) {
	d.t.learn(d.ref(), p)
	d.t.unlisted.note(d.path, !p.Access.CanList)
	d.t.changedRepositories.update(d.path, factsOf(p))
	dropUnless(d.t.catalog, func(c *catalog) bool {
		known := c.components[d.path]
		return (known != nil && known.repository) == p.Access.CanList
	})
}

// dropUnless drops a listing that a flag has made untrue.
func dropUnless[T any](l *listing[T], right func(T) bool) {
	if s := l.last(); s != nil && !right(s.value) {
		l.drop()
	}
}

func (d *componentDir) Setxattr(ctx context.Context, name string, value []byte, flags uint32) syscall.Errno {
	if d.path == "" || !d.repository.Load() {
		return d.node.Setxattr(ctx, name, value, flags)
	}
	return d.t.setxattr(ctx, d, repositoryAttrs, name, value, flags)
}

func (d *componentDir) Removexattr(ctx context.Context, name string) syscall.Errno {
	if d.path == "" || !d.repository.Load() {
		return d.node.Removexattr(ctx, name)
	}
	return d.t.removexattr(ctx, d.where(), d.ref(), repositoryAttrs, name)
}

func (d *artifactDir) ref() registry.Ref {
	if d.tag != "" {
		return registry.Ref{Repository: d.repo.name, Tag: d.tag}
	}
	dgst, _ := parseDigest(d.name)
	return registry.Ref{Repository: d.repo.name, Digest: dgst}
}

// changed lays the new flags over the listings. One that lacks the item, which
// is shown again now, is of no more use.
func (d *artifactDir) changed(p registry.Properties) {
	f := factsOf(p)
	d.t.learn(d.ref(), p)
	if d.tag != "" {
		d.repo.changedTags.update(d.tag, f)
		dropUnless(d.repo.tags, func(l tagList) bool {
			_, listed := l.find(d.tag)
			return listed || f.unlisted()
		})
	} else {
		dgst := d.ref().Digest
		d.repo.changedManifests.update(dgst.String(), f)
		dropUnless(d.repo.manifests, func(l *manifestList) bool {
			_, listed := l.find(dgst)
			return listed || f.unlisted()
		})
	}
	d.learn(f, time.Now())
}

func (d *artifactDir) Setxattr(ctx context.Context, name string, value []byte, flags uint32) syscall.Errno {
	return d.t.setxattr(ctx, d, d.attrs(), name, value, flags)
}

func (d *artifactDir) Removexattr(ctx context.Context, name string) syscall.Errno {
	return d.t.removexattr(ctx, d.where(), d.ref(), d.attrs(), name)
}
