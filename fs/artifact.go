package fs

import (
	"context"
	"math"
	"path"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// artifact is a manifest laid out as a directory. It belongs to a digest,
// never changes, and is shared by every tag and repository that has it.
type artifact struct {
	digest  digest.Digest
	raw     []byte
	parsed  parsed
	root    *folder
	folders int     // how many the titles of its layers make
	blobs   []entry // config and layers, in the order of the listing, with their whole paths as names
	byBlob  map[digest.Digest]int

	opened     walk // over blobs
	blobsAhead int  // how many of them to download ahead of a walker
}

// folder is a directory inside an artifact.
type folder struct {
	entries []entry // in the order of the listing
	byName  map[string]int
}

// entry is one name in a folder.
type entry struct {
	name   string
	kind   entryKind
	digest digest.Digest // of blobs: the blob; of links: the manifest pointed to
	size   int64         // of blobs; 0 or less: the registry has to be asked
	folder *folder       // of folders
}

type entryKind uint8

const (
	entryManifest entryKind = iota // manifest.json itself
	entryBlob
	entryFolder
	entryLink // to another manifest of the repository
)

func (f *folder) find(name string) (entry, bool) {
	i, ok := f.byName[name]
	if !ok {
		return entry{}, false
	}
	return f.entries[i], true
}

func (f *folder) add(e entry) {
	if f.byName == nil {
		f.byName = make(map[string]int)
	}
	f.byName[e.name] = len(f.entries)
	f.entries = append(f.entries, e)
}

// below returns the folder at a slash-separated path, nil when there is none.
func (f *folder) below(dir string) *folder {
	if dir == "" {
		return f
	}
	for name := range strings.SplitSeq(dir, "/") {
		e, ok := f.find(name)
		if !ok || e.kind != entryFolder {
			return nil
		}
		f = e.folder
	}
	return f
}

// layOut decides what an artifact's directory holds and in which order:
// manifest.json, config.json, the layers, manifests.
func layOut(d digest.Digest, raw []byte) *artifact {
	a := &artifact{digest: d, raw: raw, parsed: parseManifest(raw), root: &folder{}, byBlob: make(map[digest.Digest]int)}
	a.root.add(entry{name: manifestName, kind: entryManifest, digest: d, size: int64(len(raw))})
	if c := a.parsed.config; c != nil {
		a.root.add(entry{name: configName, kind: entryBlob, digest: c.Digest, size: c.Size})
	}
	names := newNamer(a.parsed.layers)
	for _, layer := range a.parsed.layers {
		if name := names.name(layer); name != "" {
			a.root.addPath(name, entry{kind: entryBlob, digest: layer.Digest, size: layer.Size})
		}
	}
	a.folders = len(names.folders)
	if a.parsed.index {
		a.root.add(entry{name: childrenName, kind: entryFolder, folder: a.children()})
	}
	a.findBlobs(a.root, "")
	a.blobsAhead = a.ahead()
	return a
}

// addPath adds e below the folders that its path names, made if need be.
func (f *folder) addPath(name string, e entry) {
	dir, base := path.Split(name)
	for part := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
		if part == "" {
			break
		}
		sub, ok := f.find(part)
		if !ok {
			sub = entry{name: part, kind: entryFolder, folder: &folder{}}
			f.add(sub)
		}
		f = sub.folder
	}
	e.name = base
	f.add(e)
}

// findBlobs collects the blobs of a folder, each once.
func (a *artifact) findBlobs(f *folder, dir string) {
	for _, e := range f.entries {
		switch e.name = join(dir, e.name); e.kind {
		case entryFolder:
			a.findBlobs(e.folder, e.name)
		case entryBlob:
			if _, seen := a.byBlob[e.digest]; !seen {
				a.byBlob[e.digest] = len(a.blobs)
				a.blobs = append(a.blobs, e)
			}
		}
	}
}

// ahead is how many blobs to download ahead of a walker: fewer the larger the
// small ones are.
func (a *artifact) ahead() int {
	small, bytes := 0, int64(0)
	for _, e := range a.blobs {
		if e.size > 0 && e.size <= fetchOnOpen {
			small++
			bytes += e.size
		}
	}
	if bytes == 0 {
		return 1
	}
	return int(min(max(1, int64(small)*maxBytesAhead/bytes), maxAhead))
}

// children is the folder of links to what an index points to.
func (a *artifact) children() *folder {
	f := &folder{}
	for _, child := range a.parsed.children {
		name, ok := platformName(child.Platform)
		if _, taken := f.byName[name]; !ok || taken {
			name = child.Digest.String()
		}
		if _, taken := f.byName[name]; !taken {
			f.add(entry{name: name, kind: entryLink, digest: child.Digest})
		}
	}
	return f
}

// weight estimates the bytes that an artifact keeps in memory.
func (a *artifact) weight() int64 {
	const perEntry = 512 // names, digests, maps, the descriptor behind it
	n := 1 + len(a.parsed.layers) + len(a.parsed.children) + a.folders
	return int64(2*len(a.raw) + n*perEntry)
}

// maxStoring bounds how many manifests, of 4 MiB at most, wait for the disk.
const maxStoring = 16

// maxArtifacts bounds what all artifacts kept in memory weigh.
const maxArtifacts = 64 << 20

// artifacts reads manifests: from memory, from the disk cache, from the
// registry. The disk cache is content by digest, so a manifest is read from
// the registry once, whatever happens to its tags.
type artifacts struct {
	t       *tree
	flights flights[*artifact]
	storing chan struct{} // holds one for each manifest on its way to the disk

	mu     sync.Mutex // guards what follows
	weight int64
	recent *simplelru.LRU[digest.Digest, *artifact]
}

func newArtifacts(t *tree) *artifacts {
	s := &artifacts{t: t, storing: make(chan struct{}, maxStoring)}
	s.flights.life = t.life
	s.recent, _ = simplelru.NewLRU[digest.Digest, *artifact](math.MaxInt, nil) // bounded by weight
	return s
}

// get returns the artifact of a manifest that the repository is known to have.
func (s *artifacts) get(ctx context.Context, repo string, d digest.Digest) (*artifact, error) {
	if a := s.inMemory(d); a != nil {
		return a, nil
	}
	// Per repository: what one may not read, another may.
	return s.flights.do(ctx, repo+"@"+d.String(), func(ctx context.Context) (*artifact, error) {
		if a := s.onDisk(ctx, d); a != nil {
			return s.keep(a), nil
		}
		var raw []byte
		err := s.t.outage.ask(func() (err error) {
			raw, _, err = s.t.registry.Manifest(ctx, registry.Ref{Repository: repo, Digest: d})
			return err
		})
		if err != nil {
			return nil, err
		}
		s.store(d, raw)
		return s.keep(layOut(d, raw)), nil
	})
}

// store puts a manifest into the disk cache. Readers do not wait for it, unless
// they come faster than the disk takes what they read.
//
// Signed schema 1 manifests have the digest of a part of their bytes, and the
// cache keeps only what it can check. Any failure to store is the cache's to
// log, and costs a request later on.
func (s *artifacts) store(d digest.Digest, raw []byte) {
	select {
	case s.storing <- struct{}{}:
		s.t.life.background(func() {
			defer func() { <-s.storing }()
			_ = s.t.cache.Put(d, raw)
		})
	default:
		_ = s.t.cache.Put(d, raw)
	}
}

// cached returns the artifact if no request is needed for it.
func (s *artifacts) cached(ctx context.Context, d digest.Digest) *artifact {
	if a := s.inMemory(d); a != nil {
		return a
	}
	if a := s.onDisk(ctx, d); a != nil {
		return s.keep(a)
	}
	return nil
}

func (s *artifacts) inMemory(d digest.Digest) *artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, _ := s.recent.Get(d)
	return a
}

func (s *artifacts) onDisk(ctx context.Context, d digest.Digest) *artifact {
	const maxManifest = 4 << 20
	raw, err := s.t.cache.Get(ctx, d, maxManifest)
	if err != nil {
		return nil // not there, or no longer what it was: ask the registry
	}
	return layOut(d, raw)
}

func (s *artifacts) keep(a *artifact) *artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, ok := s.recent.Get(a.digest); ok {
		return kept
	}
	s.recent.Add(a.digest, a)
	s.weight += a.weight()
	for s.weight > maxArtifacts && s.recent.Len() > 1 {
		_, oldest, _ := s.recent.RemoveOldest()
		s.weight -= oldest.weight()
	}
	return a
}
