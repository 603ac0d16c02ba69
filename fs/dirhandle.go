package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// contents is what a directory holds at one moment.
type contents struct {
	id    uint64                    // the same id is the same contents
	later bool                      // only id is known without reading something
	n     int                       // entries
	entry func(i int) fuse.DirEntry // mode, name and inode number
	// child is the node of an entry, with its attributes, from what the
	// listing told: READDIRPLUS asks for all of them, and a request for each
	// would make ls as slow as the registry.
	child func(ctx context.Context, i int, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno)
}

// contentsID tells apart the contents made of a snapshot and of what this mount
// changed since.
func contentsID(snapshot, version uint64) uint64 { return firstID + snapshot<<32 + version }

// putTogether has list lay the changes over a snapshot, and returns the id of what
// comes of it: one that nothing else has, if there were further changes meanwhile,
// of which some may be in it.
func putTogether(snapshot uint64, changed *changes, list func()) (id uint64) {
	version := changed.version()
	list()
	if changed.version() != version {
		return ^momentary.Add(1)
	}
	return contentsID(snapshot, version)
}

// momentary counts the ids, from the last one down, of what was put together while
// it changed.
var momentary atomic.Uint64

// lister is a kind of directory as its handles see it.
type lister interface {
	self
	// known returns the contents, or their id alone, if that needs no request
	// and they are still to be believed.
	known() (contents, bool)
	// contents returns them, or an error, but never a part.
	contents(ctx context.Context) (contents, error)
	// gone tells, of a directory whose contents were asked for at a moment and not
	// found, whether it is gone: what would list it does not, and the registry does
	// not know it by name.
	gone(ctx context.Context, asked time.Time) bool
}

// lacks tells whether a listing does not have an item, or has it no more: one from
// a second ago if that lacks it already, or else one from after a moment.
//
// Where the new one has it as well, others that are not found are not looked for
// in further ones for a while: lists may lag behind a thousand deletions.
func lacks[T any](ctx context.Context, l *listing[T], asked time.Time, has func(T) bool) (bool, error) {
	s, err := l.since(ctx, time.Now().Add(-time.Second))
	if err == nil && has(s.value) && time.Since(time.Unix(0, l.vain.Load())) > vainMemory {
		if s, err = l.since(ctx, asked); err == nil && has(s.value) {
			l.vain.Store(time.Now().UnixNano())
		}
	}
	return err == nil && !has(s.value), err
}

const vainMemory = 5 * time.Second

// What the kernel's own copy of a directory holds: an id of contents, or one
// of these, which no contents have.
const (
	copyNothing = iota
	copyPending // a handle is about to read its contents into the copy
	copyMixed   // nobody knows; it must not be used
	firstID
)

// kernelCopy decides, open by open, whether the kernel may serve a directory
// from its own copy. A handle opened with the flags reads from the copy and
// adds to it; one opened without them has the kernel throw the copy away, but
// does not keep older handles from adding to it again. So only handles of the
// same contents may share a copy.
type kernelCopy struct {
	mu    sync.Mutex
	holds uint64
	users int // open handles with the flags
}

const useCopy = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE

// open decides for a handle that will show the contents with this id, or that
// will know its contents only when it is read (copyPending).
func (k *kernelCopy) open(id uint64) (flags uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.holds == id && id != copyPending, k.holds == copyNothing && k.users == 0:
		k.holds = id
		k.users++
		return useCopy
	case k.users > 0:
		k.holds = copyMixed
	default:
		k.holds = copyNothing
	}
	return 0
}

// settle tells what the copy holds now that the pending handle has loaded.
func (k *kernelCopy) settle(id uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holds == copyPending {
		k.holds = id
	}
}

// release ends the use by one handle with the flags.
func (k *kernelCopy) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users--
	if k.holds == copyPending {
		k.holds = copyNothing // it was never read
	}
}

// OpendirHandle does not wait: a directory can be opened, to be walked through
// or to be asked for its attributes, when it cannot be listed.
func (d *directory) OpendirHandle(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	h := &dirHandle{d: d, l: d.Operations().(lister)}
	id := uint64(copyPending)
	if c, known := h.l.known(); known {
		id = c.id
		h.contents, h.loaded = c, !c.later
	}
	openFlags := d.copy.open(id)
	h.shared = openFlags != 0
	return h, openFlags, 0
}

// dirHandle is an open directory. It shows one snapshot from its first read to
// its last; go-fuse serializes the calls.
type dirHandle struct {
	d        *directory
	l        lister
	contents contents
	loaded   bool
	shared   bool // uses the kernel's copy of the directory
	next     int  // of the entries, "." and ".." included
}

var (
	_ fusefs.FileReaddirenter = (*dirHandle)(nil)
	_ fusefs.FileSeekdirer    = (*dirHandle)(nil)
	_ fusefs.FileLookuper     = (*dirHandle)(nil)
	_ fusefs.FileReleasedirer = (*dirHandle)(nil)
)

// dots is how many entries precede the contents: "." and "..".
const dots = 2

func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !h.loaded {
		if err := h.load(ctx); err != nil {
			return nil, h.d.t.fail("readdir", h.l.where(), err)
		}
	}
	if h.next >= dots+h.contents.n {
		return nil, 0
	}
	var e fuse.DirEntry
	switch h.next {
	case 0:
		e = fuse.DirEntry{Name: ".", Mode: modeDir, Ino: h.d.StableAttr().Ino}
	case 1:
		e = fuse.DirEntry{Name: "..", Mode: modeDir, Ino: h.d.StableAttr().Ino}
		if _, parent := h.d.Parent(); parent != nil {
			e.Ino = parent.StableAttr().Ino
		}
	default:
		e = h.contents.entry(h.next - dots)
	}
	h.next++
	e.Off = uint64(h.next)
	return &e, 0
}

// load gets the contents. That they do not exist is an error only where something
// else is wrong than that they are gone: libc takes ENOENT of a readdir for the end
// of the directory, and programs that keep a copy would empty theirs.
func (h *dirHandle) load(ctx context.Context) error {
	ctx, done := h.d.t.opContext(ctx)
	defer done()
	asked := time.Now()
	c, err := h.l.contents(ctx)
	if errors.Is(err, errNotFound) && !h.l.gone(ctx, asked) {
		err = fmt.Errorf("%w: %w", errMissing, err)
	}
	if err != nil {
		return err
	}
	h.contents, h.loaded = c, true
	if h.shared {
		h.d.copy.settle(c.id)
	}
	return nil
}

func (h *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 && !h.shared {
		// rewinddir(3) promises a fresh look; a shared copy must not be
		// mixed with one.
		if c, known := h.l.known(); !known || c.id != h.contents.id {
			h.loaded = false
		}
	}
	h.next = int(off)
	return 0
}

// Lookup answers READDIRPLUS for the entry that Readdirent gave last. That this
// is the one of the name is owed to seeking.
func (h *dirHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return h.contents.child(ctx, h.next-1-dots, out)
}

func (h *dirHandle) Releasedir(ctx context.Context, flags uint32) {
	if h.shared {
		h.d.copy.release()
	}
}
