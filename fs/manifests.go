package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// manifestsDir is a repository's _manifests.
type manifestsDir struct {
	directory
	repo *repository
}

var (
	_ fusefs.NodeLookuper = (*manifestsDir)(nil)
	_ fusefs.NodeRmdirer  = (*manifestsDir)(nil)
	_ lister              = (*manifestsDir)(nil)
)

func (d *manifestsDir) attr() attr    { return plainDir }
func (d *manifestsDir) where() string { return "/" + join(d.repo.name, manifestsName) }

// Lookup answers any digest, listed or not, in both spellings.
func (d *manifestsDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	dgst, ok := parseDigest(name)
	if !ok {
		return nil, d.t.fail("lookup", join(d.where(), name), errNotFound)
	}
	ctx, done := d.t.opContext(ctx)
	defer done()
	e, at, err := d.repo.manifest(ctx, dgst)
	if errors.Is(err, errNotFound) && d.repo.changedManifests.ghost(dgst.String()) {
		return d.child(ctx, name, manifestEntry{digest: ghostDigest}, time.Now(), out), 0
	}
	if err != nil {
		e, err = d.fromCache(ctx, dgst, err)
		at = time.Now()
	}
	if err != nil {
		return nil, d.t.fail("lookup", join(d.where(), name), cause(ctx, err))
	}
	return d.child(ctx, name, e, at, out), 0
}

// fromCache answers for a manifest whose content is here although the registry
// cannot be asked.
func (d *manifestsDir) fromCache(ctx context.Context, dgst digest.Digest, err error) (manifestEntry, error) {
	if !unanswered(err) {
		return manifestEntry{}, err
	}
	a := d.t.artifacts.cached(ctx, dgst)
	if a == nil {
		return manifestEntry{}, err
	}
	return manifestEntry{digest: dgst, mediaType: a.parsed.mediaType}, nil
}

func (d *manifestsDir) child(ctx context.Context, name string, e manifestEntry, at time.Time, out *fuse.EntryOut) *fusefs.Inode {
	id := d.t.gens.stable(modeDir, inoOfManifest(d.repo.name, name, isIndex(e.mediaType), e.created), e.digest.String())
	return d.repo.artifactNode(ctx, &d.Inode, id, found{"", name, e.digest, e.facts, at}, out)
}

// Rmdir deletes the manifest, whose names have all been unlinked before.
func (d *manifestsDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	dgst, ok := parseDigest(name)
	if !ok {
		return d.t.fail("rmdir", join(d.where(), name), errNotFound)
	}
	ref := registry.Ref{Repository: d.repo.name, Digest: dgst}
	return d.t.rmdir(ctx, "delete manifest", ref, join(d.where(), name), func(ctx context.Context, where string) error {
		err := d.remove(ctx, dgst, where)
		if child := d.GetChild(name); err == nil && child != nil {
			// See tagsDir.retire.
			d.t.gens.retire(child.StableAttr().Ino, child.Operations().(*artifactDir).bound())
		}
		return err
	})
}

func (d *manifestsDir) remove(ctx context.Context, dgst digest.Digest, where string) error {
	e, _, err := d.repo.manifest(ctx, dgst)
	if err == nil {
		err = d.t.refused(ctx, "delete manifest", registry.Ref{Repository: d.repo.name, Digest: dgst}, d.repo.emptied(ctx, where, dgst.String(), dgst))
	}
	if err == nil {
		err = d.repo.deleteManifest(ctx, e)
	}
	if errors.Is(err, errNotFound) && d.repo.changedManifests.ghost(dgst.String()) {
		d.repo.changedManifests.lay(dgst.String())
		return nil
	}
	return err
}

// known: a snapshot from before a deletion of ours does not do for a look at
// the directory. What the deletion took along, such as signatures, only the
// registry knows.
func (d *manifestsDir) known() (contents, bool) {
	if s := d.repo.manifests.fresh(); s != nil && s.at.UnixNano() > d.repo.manifestDeleted.Load() {
		d.listAhead()
		return d.list(s), true
	}
	return contents{}, false
}

func (d *manifestsDir) contents(ctx context.Context) (contents, error) {
	d.listAhead()
	s, err := d.repo.manifests.since(ctx, time.Unix(0, d.repo.manifestDeleted.Load()))
	if err != nil {
		return contents{}, cause(ctx, err)
	}
	return d.list(s), nil
}

func (d *manifestsDir) gone(ctx context.Context, asked time.Time) bool {
	return d.t.repositoryGone(ctx, d.repo.name, asked)
}

func (d *manifestsDir) listAhead() {
	d.t.repositoryListed(d.repo.name, &d.t.manifestsWalk, func(r *repository) error {
		if tags := r.tags.last(); tags != nil && tags.value.withoutDigests() {
			return nil // plain OCI: a request for each tag, too much for a guess
		}
		_, err := r.manifests.get(d.t.life.ctx)
		return err
	})
}

func (d *manifestsDir) list(s *snapshot[*manifestList]) contents {
	var entries []manifestEntry
	id := putTogether(s.seq, &d.repo.changedManifests, func() { entries = d.repo.listedManifests(s) })
	return contents{
		id: id,
		n:  len(entries),
		entry: func(i int) fuse.DirEntry {
			name := entries[i].digest.String()
			return fuse.DirEntry{Name: name, Mode: modeDir, Ino: d.repo.manifestIno(entries[i])}
		},
		child: func(ctx context.Context, i int, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
			return d.child(ctx, entries[i].digest.String(), entries[i], s.at, out), 0
		},
	}
}

func (r *repository) manifestIno(e manifestEntry) uint64 {
	return inoOfManifest(r.name, e.digest.String(), isIndex(e.mediaType), e.created)
}
