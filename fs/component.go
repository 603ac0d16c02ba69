package fs

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/acrfs/acrfs/registry"
)

// componentDir is a component of repository names: the root, "library", and
// "library/hello-world". It holds the components below it and, when it is a
// repository itself, _tags, _manifests and _blobs.
type componentDir struct {
	directory
	path string // "" for the root
	// Whether it is a repository, as of the last look-up: a name can become
	// one, or cease to be one, while others remain below it.
	repository atomic.Bool
}

var (
	_ fusefs.NodeLookuper    = (*componentDir)(nil)
	_ fusefs.NodeGetxattrer  = (*componentDir)(nil)
	_ fusefs.NodeListxattrer = (*componentDir)(nil)
	_ fusefs.NodeSetxattrer  = (*componentDir)(nil)
	_ fusefs.NodeIoctler     = (*componentDir)(nil)
	_ fusefs.NodeRmdirer     = (*componentDir)(nil)
	_ lister                 = (*componentDir)(nil)
)

// The directories that only repositories have, in the order of the listing.
var repositoryDirs = []string{tagsName, manifestsName, blobsName}

func newRoot(t *tree) *componentDir { return &componentDir{directory: directory{node: node{t: t}}} }

func (d *componentDir) attr() attr    { return plainDir }
func (d *componentDir) where() string { return "/" + d.path }

// component tells whether path is a repository, from the catalog or, for what
// the catalog does not list, by asking. ErrNotFound when it is nothing.
//
// When the registry is out of reach, or does not show its catalog to us, a
// name that is a valid component counts as one: what is cached stays readable
// by digest, and what is not there fails further down. left is how long the
// answer holds.
func (t *tree) component(ctx context.Context, path string) (isRepository bool, left time.Duration, err error) {
	cat, err := t.catalog.get(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return false, 0, cause(ctx, err)
	case t.catalog.last() != nil:
		if c := t.visible(t.catalog.last()).components[path]; c != nil {
			return c.repository, 0, nil
		}
		return false, 0, err
	default:
		return true, 0, nil
	}
	left = t.left(cat.at)
	if c := t.visible(cat).components[path]; c != nil {
		// A repository that is gone while others remain below it still has
		// its directories for whoever is removing them.
		return c.repository || t.changedRepositories.ghost(path) || t.wentWithManifests(path), left, nil
	}
	if t.changedRepositories.ghost(path) {
		return true, 0, nil
	}
	if t.changedFolders.ghost(path) {
		return false, 0, nil
	}
	if _, gone := t.changedRepositories.apply(path, cat.at, facts{}); gone {
		return false, 0, errNotFound
	}
	d, err := t.properties(ctx, registry.Ref{Repository: path})
	if errors.Is(err, errNotFound) && t.unlisted.below(path) {
		return false, 0, nil
	}
	if errors.Is(err, errNotFound) && t.wentWithManifests(path) {
		return true, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	return true, min(left, max(0, t.ttl-time.Since(d.at))), nil
}

func (d *componentDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	path := join(d.path, name)
	if d.path != "" && d.repository.Load() && !d.hides(name) {
		if child := d.repositoryDir(ctx, name); child != nil {
			d.t.fillEntry(out, plainDir, d.t.nameTimeout)
			return child, 0
		}
	}
	if !validComponent(name) {
		return nil, d.t.fail("lookup", "/"+path, errNotFound)
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	isRepository, left, err := d.t.component(ctx, path)
	if err != nil {
		return nil, d.t.fail("lookup", "/"+path, cause(ctx, err))
	}
	return d.child(ctx, name, isRepository, left, out), 0
}

// child is the node of a component below.
func (d *componentDir) child(ctx context.Context, name string, isRepository bool, left time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	d.t.fillEntry(out, plainDir, left)
	if known := d.GetChild(name); known != nil {
		if c, ok := known.Operations().(*componentDir); ok {
			c.repository.Store(isRepository)
			return known
		}
	}
	c := &componentDir{directory: directory{node: node{t: d.t}}, path: join(d.path, name)}
	c.repository.Store(isRepository)
	return d.NewInode(ctx, c, d.t.gens.stable(modeDir, c.ino()))
}

func (d *componentDir) ino() uint64 { return inoOf("component", d.path) }

// repositoryDir is the node of _tags, _manifests or _blobs, nil for any other
// name.
func (d *componentDir) repositoryDir(ctx context.Context, name string) *fusefs.Inode {
	if known := d.GetChild(name); known != nil {
		if _, ok := known.Operations().(*componentDir); !ok {
			return known
		}
	}
	repo := d.t.repository(d.path)
	var child self
	switch name {
	case tagsName:
		child = &tagsDir{directory: directory{node: node{t: d.t}}, repo: repo}
	case manifestsName:
		child = &manifestsDir{directory: directory{node: node{t: d.t}}, repo: repo}
	case blobsName:
		child = &blobsDir{directory: directory{node: node{t: d.t}}, repo: repo}
	default:
		return nil
	}
	return d.NewInode(ctx, child, d.t.gens.stable(modeDir, inoOf(name, d.path)))
}

func (d *componentDir) known() (contents, bool) {
	cat := d.t.catalog.fresh()
	if cat == nil {
		return contents{}, false
	}
	view := d.t.visible(cat)
	comp := view.components[d.path]
	if comp == nil {
		return contents{}, false
	}
	return d.list(view, comp), true
}

func (d *componentDir) contents(ctx context.Context) (contents, error) {
	cat, err := d.t.catalog.get(ctx)
	if err != nil {
		if refused := errors.Is(err, registry.ErrDenied) || errors.Is(err, registry.ErrUnsupported); refused && d.path != "" {
			// Nobody may see the catalog; a repository that is known by
			// name can still be listed itself.
			if _, tagsErr := d.t.repository(d.path).tags.get(ctx); tagsErr == nil {
				return d.list(catalogView{of: &snapshot[*catalog]{}}, &component{repository: true}), nil
			}
		}
		return contents{}, cause(ctx, err)
	}
	view := d.t.visible(cat)
	comp := view.components[d.path]
	switch {
	case comp != nil:
	case d.t.changedRepositories.ghost(d.path), d.t.changedFolders.ghost(d.path):
		comp = &component{repository: d.repository.Load()}
	default:
		// Unlisted, or gone.
		_, err := d.t.properties(ctx, registry.Ref{Repository: d.path})
		if err != nil && !d.t.unlisted.below(d.path) {
			return contents{}, cause(ctx, err)
		}
		comp = &component{repository: err == nil}
	}
	return d.list(view, comp), nil
}

func (d *componentDir) gone(ctx context.Context, asked time.Time) bool {
	return d.t.repositoryGone(ctx, d.path, asked)
}

// repositoryGone tells whether neither the catalog nor the registry, asked by name,
// knows a repository, or a component above some.
func (t *tree) repositoryGone(ctx context.Context, path string, asked time.Time) bool {
	unlisted, _ := lacks(ctx, t.catalog, asked, func(c *catalog) bool { return c.components[path] != nil })
	return unlisted && t.unknown(ctx, registry.Ref{Repository: path}, asked)
}

// unknown tells whether the registry, asked by name after a moment, does not have an
// item: some are never listed.
func (t *tree) unknown(ctx context.Context, ref registry.Ref, since time.Time) bool {
	_, err := t.propertiesSince(ctx, ref, since)
	return errors.Is(err, errNotFound)
}

// list shows comp, which is of the view.
func (d *componentDir) list(view catalogView, comp *component) contents {
	var own []string
	if comp.repository {
		own = repositoryDirs
		d.repository.Store(true)
	}
	shown := uint64(0) // a bit for each
	own = slices.DeleteFunc(slices.Clone(own), d.hides)
	for _, name := range own {
		shown |= 1 << slices.Index(repositoryDirs, name)
	}
	name := func(i int) string {
		if i < len(own) {
			return own[i]
		}
		return comp.children[i-len(own)]
	}
	return contents{
		id: contentsID(view.of.seq, view.version<<len(repositoryDirs)|shown),
		n:  len(own) + len(comp.children),
		entry: func(i int) fuse.DirEntry {
			ino := inoOf("component", join(d.path, name(i)))
			if i < len(own) {
				ino = inoOf(own[i], d.path)
			}
			return fuse.DirEntry{Name: name(i), Mode: modeDir, Ino: ino}
		},
		child: func(ctx context.Context, i int, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
			if i < len(own) {
				d.t.fillEntry(out, plainDir, d.t.nameTimeout)
				return d.repositoryDir(ctx, own[i]), 0
			}
			isRepository := view.components[join(d.path, name(i))].repository
			return d.child(ctx, name(i), isRepository, d.t.left(view.of.at), out), 0
		},
	}
}

// properties are a repository's; other components have none.
func (d *componentDir) properties(ctx context.Context) (registry.Properties, error) {
	if d.path == "" || !d.repository.Load() {
		return registry.Properties{}, nil
	}
	p, err := d.t.properties(ctx, registry.Ref{Repository: d.path})
	f, _ := d.t.changedRepositories.apply(d.path, p.at, factsOf(p.properties))
	f.fill(&p.properties)
	return p.properties, err
}

func (d *componentDir) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	return d.t.getxattr(ctx, d, repositoryAttrs, name, dest)
}

func (d *componentDir) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	return d.t.listxattr(ctx, d, repositoryAttrs, dest)
}
