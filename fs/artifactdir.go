package fs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// artifactDir is the directory of a tag or of a manifest. Both show the same
// artifact; they differ in whose properties they have.
type artifactDir struct {
	directory
	repo *repository
	tag  string // "" for manifests
	name string // in the parent: the tag, or the digest in either spelling

	lookedInto atomic.Bool
	since      time.Time // of the listing; the digest is not taken from before it

	mu     sync.Mutex // guards what follows
	facts  facts
	at     time.Time     // when facts were true
	digest digest.Digest // "" until someone looks inside, where the listing did not tell
}

var (
	_ fusefs.NodeLookuper    = (*artifactDir)(nil)
	_ fusefs.NodeGetxattrer  = (*artifactDir)(nil)
	_ fusefs.NodeListxattrer = (*artifactDir)(nil)
	_ fusefs.NodeSetxattrer  = (*artifactDir)(nil)
	_ fusefs.NodeUnlinker    = (*artifactDir)(nil)
	_ fusefs.NodeRmdirer     = (*artifactDir)(nil)
	_ lister                 = (*artifactDir)(nil)
)

// found is what was learned of a tag or a manifest, at a moment.
type found struct {
	tag    string // "" for manifests
	name   string // in the parent
	digest digest.Digest
	facts  facts
	at     time.Time
}

// artifactNode is the node with this identity for what was found, and takes in
// what was learned of it.
func (r *repository) artifactNode(ctx context.Context, parent *fusefs.Inode, id fusefs.StableAttr, e found, out *fuse.EntryOut) *fusefs.Inode {
	known := parent.GetChild(e.name)
	if known == nil || known.StableAttr() != id {
		known = parent.NewInode(ctx, &artifactDir{
			directory: directory{node: node{t: r.t}},
			repo:      r, tag: e.tag, name: e.name, since: e.at, digest: e.digest,
		}, id)
	}
	a := known.Operations().(*artifactDir)
	a.learn(e.facts, e.at)
	own := a.attr()
	r.t.fillEntry(out, own, own.valid)
	return known
}

func (d *artifactDir) attr() attr {
	f, at := d.learned()
	return attr{perm: dirPerm, nlink: 1, mtime: f.updated, btime: f.created, valid: d.t.left(at)}
}

func (d *artifactDir) where() string {
	if d.tag != "" {
		return "/" + d.repo.name + "/" + tagsName + "/" + d.name
	}
	return "/" + d.repo.name + "/" + manifestsName + "/" + d.name
}

// learn takes what was true at a moment.
func (d *artifactDir) learn(f facts, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.facts, d.at = f, at
}

func (d *artifactDir) learned() (f facts, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.facts, d.at
}

// bound is the digest that the node was made for, "" where a listing did not
// tell it.
func (d *artifactDir) bound() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.digest.String()
}

// resolve returns the digest that the directory is bound to.
func (d *artifactDir) resolve(ctx context.Context) (digest.Digest, error) {
	d.mu.Lock()
	dgst := d.digest
	d.mu.Unlock()
	switch dgst {
	case "":
	case ghostDigest:
		return "", errNotFound
	default:
		return dgst, nil
	}
	p, err := d.t.propertiesSince(ctx, registry.Ref{Repository: d.repo.name, Tag: d.tag}, d.since)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.digest == "" {
		d.digest = p.properties.Digest
	}
	return d.digest, nil
}

func (d *artifactDir) artifact(ctx context.Context) (*artifact, error) {
	dgst, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if d.lookedInto.CompareAndSwap(false, true) {
		d.repo.artifactOpened(d)
	}
	return d.t.artifacts.get(ctx, d.repo.name, dgst)
}

func (d *artifactDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return d.lookupIn(ctx, &d.Inode, "", name, out)
}

// lookupIn finds a name in one of the artifact's folders; at is the folder's
// node.
func (d *artifactDir) lookupIn(ctx context.Context, at *fusefs.Inode, dir, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	ctx, done := d.t.opContext(ctx)
	defer done()
	a, err := d.artifact(ctx)
	if err != nil {
		return nil, d.t.fail("lookup", join(d.where(), join(dir, name)), cause(ctx, err))
	}
	e, ok := entry{}, false
	if f := a.root.below(dir); f != nil {
		e, ok = f.find(name)
	}
	if !ok || d.t.hidden.of(d.where()).has(d.hidingFor(a.digest), join(dir, name)) {
		return nil, d.t.fail("lookup", join(d.where(), join(dir, name)), errNotFound)
	}
	return d.child(ctx, at, dir, a, e, out)
}

// child is the node of an entry.
func (d *artifactDir) child(ctx context.Context, at *fusefs.Inode, dir string, a *artifact, e entry, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	where := join(d.where(), join(dir, e.name))
	switch e.kind {
	case entryManifest:
		times, asked, err := d.manifestFacts(ctx, a.digest)
		if err != nil {
			return nil, d.t.fail("lookup", where, cause(ctx, err))
		}
		return newManifestFile(ctx, d, a, times, asked, out), 0
	case entryFolder:
		child := at.GetChild(e.name)
		if child == nil {
			child = at.NewInode(ctx, &folderDir{
				directory: directory{node: node{t: d.t}}, top: d, path: join(dir, e.name),
			}, d.t.gens.stable(modeDir, inoOf("folder", where), a.digest.String()))
		}
		d.t.fillEntry(out, plainDir, forever)
		return child, 0
	case entryLink:
		// From MOUNT/repo/_tags/v1/manifests/linux-amd64 up to the repository.
		target := "../../../" + manifestsName + "/" + e.digest.String()
		return newLink(ctx, at, where, e.name, target, d.t, out), 0
	}
	size, valid := e.size, forever
	if size <= 0 {
		asked, err := d.t.blobSize(ctx, d.repo.name, e.digest)
		switch {
		case err == nil:
			size = asked
		case errnoOf(err) == syscall.ENOENT:
			valid = min(d.t.nameTimeout, unsure) // listed all the same; opening it says what is wrong
		default:
			return nil, d.t.fail("lookup", where, cause(ctx, err))
		}
	}
	child := newBlobFile(ctx, at, d.repo, e.name, e.digest, max(size, 0), valid, out)
	child.Operations().(*blobFile).seenIn.Store(a.digest)
	return child, 0
}

// manifestFacts are the facts of the manifest, whatever the directory is. A
// registry that keeps no times for the tag keeps none for the manifest.
func (d *artifactDir) manifestFacts(ctx context.Context, dgst digest.Digest) (facts, time.Time, error) {
	own, at := d.learned()
	if d.tag == "" || own.updated == 0 {
		return own, at, nil
	}
	e, asked, err := d.repo.manifest(ctx, dgst)
	if err != nil {
		return facts{}, time.Time{}, err
	}
	if asked.Before(at) {
		at = asked
	}
	// The times are the manifest's, the locks are the tag's.
	e.facts.access = own.access
	return e.facts, at, nil
}

func (d *artifactDir) known() (contents, bool) { return d.knownIn(&d.Inode, "") }

func (d *artifactDir) contents(ctx context.Context) (contents, error) {
	return d.contentsOf(ctx, &d.Inode, "")
}

// knownIn returns the contents of a folder if the artifact is in memory. On a
// read-only mount nothing changes below a digest: there the kernel's own copy
// will do, if it has one.
func (d *artifactDir) knownIn(at *fusefs.Inode, dir string) (contents, bool) {
	d.mu.Lock()
	dgst := d.digest
	d.mu.Unlock()
	if d.t.writable == nil {
		return contents{id: contentsID(0, 0), later: true}, dgst != ""
	}
	if a := d.t.artifacts.inMemory(dgst); a != nil {
		return d.list(at, dir, a), true
	}
	return contents{}, false
}

func (d *artifactDir) contentsOf(ctx context.Context, at *fusefs.Inode, dir string) (contents, error) {
	a, err := d.artifact(ctx)
	switch {
	case err == nil:
		return d.list(at, dir, a), nil
	case d.ghost(ctx, err), d.neverPushed(err):
		return contents{id: firstID}, nil
	case d.t.writable != nil && unreadable(err):
		d.t.hidden.hide(d.where(), d.hidingFor(digest.Digest(d.bound())), unseen)
	}
	return contents{}, cause(ctx, err)
}

// ghost tells whether the artifact is missing because it went along with
// something that this mount deleted. Then the directory is empty and can still
// be removed by whoever is walking there.
func (d *artifactDir) ghost(ctx context.Context, err error) bool {
	switch {
	case !errors.Is(err, errNotFound):
		return false
	case d.tag != "":
		return d.repo.changedTags.ghost(d.tag)
	case !d.repo.mayHaveGoneAlong(err):
		return false
	}
	own, _ := d.learned()
	if dgst, _ := parseDigest(d.name); !d.repo.changedManifests.ghost(dgst.String()) {
		d.repo.changedManifests.takeAlong(dgst.String(), own.updated)
		d.repo.noteIfLast(ctx, own)
	}
	return true
}

// neverPushed tells whether the artifact is missing because an index points to it
// and it was not pushed with it, or so the registry says: mirrors leave platforms
// out. A registry that cannot list manifests has these in _manifests; the directory
// is empty.
func (d *artifactDir) neverPushed(err error) bool {
	answer, _ := errors.AsType[*registry.Error](err)
	listed := d.repo.manifests.last()
	if d.tag != "" || answer == nil || answer.Kind != errNotFound || answer.Code == "" || listed == nil {
		return false // without a code it may be another server's
	}
	dgst, _ := parseDigest(d.name)
	e, ok := listed.value.find(dgst)
	return ok && e.updated == 0 && len(e.tags) == 0
}

func (d *artifactDir) gone(ctx context.Context, asked time.Time) bool {
	ref := registry.Ref{Repository: d.repo.name, Tag: d.tag}
	var unlisted bool
	var err error
	if d.tag != "" {
		unlisted, err = lacks(ctx, d.repo.tags, asked, func(l tagList) bool { _, ok := l.find(d.tag); return ok })
	} else {
		ref.Digest, _ = parseDigest(d.name)
		unlisted, err = lacks(ctx, d.repo.manifests, asked, func(l *manifestList) bool { _, ok := l.find(ref.Digest); return ok })
	}
	if errors.Is(err, errNotFound) {
		return d.t.repositoryGone(ctx, d.repo.name, asked)
	}
	return unlisted && d.t.unknown(ctx, ref, asked)
}

func (d *artifactDir) list(at *fusefs.Inode, dir string, a *artifact) contents {
	var entries []entry
	if f := a.root.below(dir); f != nil {
		entries = f.entries
	}
	hidden, hides := d.t.hidden.of(d.where()).in(d.hidingFor(a.digest), dir)
	if hides > 0 {
		entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return hidden[e.name] })
	}
	return contents{
		id: contentsID(0, hides), // bound to a digest: otherwise the same for ever
		n:  len(entries),
		entry: func(i int) fuse.DirEntry {
			e := entries[i]
			where := join(d.where(), join(dir, e.name))
			switch e.kind {
			case entryBlob:
				return fuse.DirEntry{Name: e.name, Mode: modeFile, Ino: inoOfBlob(e.digest, e.size)}
			case entryFolder:
				return fuse.DirEntry{Name: e.name, Mode: modeDir, Ino: inoOf("folder", where)}
			case entryLink:
				return fuse.DirEntry{Name: e.name, Mode: modeSymlink, Ino: inoOf("link", where)}
			}
			return fuse.DirEntry{Name: e.name, Mode: modeFile, Ino: inoOf("file", where)}
		},
		child: func(ctx context.Context, i int, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
			ctx, done := d.t.opContext(ctx)
			defer done()
			return d.child(ctx, at, dir, a, entries[i], out)
		},
	}
}

// properties are the tag's in a tag's directory and the manifest's in a
// manifest's, never older than the TTL.
func (d *artifactDir) properties(ctx context.Context) (registry.Properties, error) {
	if d.tag == "" {
		dgst, _ := parseDigest(d.name)
		e, _, err := d.repo.manifest(ctx, dgst)
		return e.properties(), err
	}
	e, _, err := d.repo.tag(ctx, d.tag)
	if err == nil && e.digest == "" {
		e.digest, err = d.resolve(ctx)
	}
	return e.properties(), err
}

func (d *artifactDir) attrs() []xattr {
	if d.tag != "" {
		return tagAttrs
	}
	return manifestAttrs
}

func (d *artifactDir) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	return d.t.getxattr(ctx, d, d.attrs(), name, dest)
}

func (d *artifactDir) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	return d.t.listxattr(ctx, d, d.attrs(), dest)
}
