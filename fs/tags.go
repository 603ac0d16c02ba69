package fs

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/acrfs/acrfs/registry"
)

// tagsDir is a repository's _tags.
type tagsDir struct {
	directory
	repo *repository
}

var (
	_ fusefs.NodeLookuper = (*tagsDir)(nil)
	_ fusefs.NodeRmdirer  = (*tagsDir)(nil)
	_ lister              = (*tagsDir)(nil)
)

func (d *tagsDir) attr() attr    { return plainDir }
func (d *tagsDir) where() string { return "/" + join(d.repo.name, tagsName) }

func (d *tagsDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if !registry.ValidTag(name) {
		return nil, d.t.fail("lookup", join(d.where(), name), errNotFound)
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	e, at, err := d.repo.tag(ctx, name)
	if errors.Is(err, errNotFound) && d.repo.changedTags.ghost(name) {
		return d.child(ctx, tagEntry{name: name, digest: ghostDigest}, time.Now(), out), 0
	}
	if err != nil {
		return nil, d.t.fail("lookup", join(d.where(), name), cause(ctx, err))
	}
	return d.child(ctx, e, at, out), 0
}

// child is the node of a tag: one node for each digest that the tag had.
//
// A listing that does not tell digests (plain OCI) gives nodes that find out
// when someone looks inside, once: they are bound to the moment of the listing
// instead, and the next listing gives new ones.
func (d *tagsDir) child(ctx context.Context, e tagEntry, at time.Time, out *fuse.EntryOut) *fusefs.Inode {
	bound := e.digest.String()
	if bound == "" {
		bound = strconv.FormatInt(at.UnixNano(), 10)
	}
	id := d.t.gens.stable(modeDir, d.repo.tagIno(e.name), bound)
	return d.repo.artifactNode(ctx, &d.Inode, id, found{e.name, e.name, e.digest, e.facts, at}, out)
}

// Rmdir deletes the tag, whose names have all been unlinked before.
func (d *tagsDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	ref := registry.Ref{Repository: d.repo.name, Tag: name}
	return d.t.rmdir(ctx, "delete tag", ref, join(d.where(), name), func(ctx context.Context, where string) error {
		return d.remove(ctx, name, where)
	})
}

func (d *tagsDir) remove(ctx context.Context, name, where string) error {
	e, at, err := d.repo.tag(ctx, name)
	if err != nil {
		if errors.Is(err, errNotFound) && d.repo.changedTags.ghost(name) {
			d.repo.changedTags.lay(name)
			d.retire(name, ghostDigest)
			return nil
		}
		return err
	}
	if e.digest == "" {
		// A listing without digests: ask, as whoever looked inside did.
		if e, at, err = d.repo.tagSince(ctx, name, at); err != nil {
			return err
		}
	}
	if err := d.repo.emptied(ctx, where, hidingForTag(e.digest, e.facts), e.digest); err != nil {
		return d.t.refused(ctx, "delete tag", registry.Ref{Repository: d.repo.name, Tag: name}, err)
	}
	if err := d.repo.deleteTag(ctx, e, at); err != nil && !d.repo.tagWentAlong(ctx, e, err) {
		return err
	}
	d.retire(name, e.digest.String())
	return nil
}

// retire has the next look-up of a removed tag give a new node: to the kernel,
// the old one is dead, and would be empty for whoever still stands in it even
// after the same tag was pushed again.
func (d *tagsDir) retire(name, bound string) {
	d.t.gens.retire(d.repo.tagIno(name), bound)
}

func (r *repository) tagIno(name string) uint64 { return inoOf("tag", r.name, name) }

// known, as in manifestsDir: a manifest may have taken tags along that nobody
// told of.
func (d *tagsDir) known() (contents, bool) {
	if s := d.repo.tags.fresh(); s != nil && s.at.UnixNano() > d.repo.manifestDeleted.Load() {
		d.listAhead()
		return d.list(s), true
	}
	return contents{}, false
}

func (d *tagsDir) contents(ctx context.Context) (contents, error) {
	d.listAhead()
	s, err := d.repo.tags.since(ctx, time.Unix(0, d.repo.manifestDeleted.Load()))
	if err != nil {
		return contents{}, cause(ctx, err)
	}
	return d.list(s), nil
}

func (d *tagsDir) gone(ctx context.Context, asked time.Time) bool {
	return d.t.repositoryGone(ctx, d.repo.name, asked)
}

func (d *tagsDir) listAhead() {
	d.t.repositoryListed(d.repo.name, &d.t.tagsWalk, func(r *repository) error {
		_, err := r.tags.get(d.t.life.ctx)
		return err
	})
}

func (d *tagsDir) list(s *snapshot[tagList]) contents {
	var tags tagList
	id := putTogether(s.seq, &d.repo.changedTags, func() { tags = d.repo.listedTags(s) })
	return contents{
		id: id,
		n:  len(tags),
		entry: func(i int) fuse.DirEntry {
			name := tags[i].name
			return fuse.DirEntry{Name: name, Mode: modeDir, Ino: d.repo.tagIno(name)}
		},
		child: func(ctx context.Context, i int, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
			return d.child(ctx, tags[i], s.at, out), 0
		},
	}
}
