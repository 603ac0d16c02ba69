package fs

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Inode numbers are derived from what a node is, so that they are the same
// after a remount: a directory, symlink or manifest.json is its path, a blob
// is its digest and size and has one number wherever it appears.
//
// The manifests of a repository are numbered in the order of their listing
// (listManifests), since tools that remove very many entries do so by number: so
// they come to an index before the images and indexes it holds, and to an image
// before its signatures. Indexes have the lower half of the numbers, the newest
// first, all others the upper half, the oldest first.

const (
	inoHigh = 1 << 63
	// How many of the other 63 bits are a hash. The rest is the creation time
	// in units of 131 µs: less than a registry takes from one push to the next
	// that depends on it.
	inoHashBits = 17
)

// inoOf hashes the parts that identify a node. The kernel and go-fuse reserve
// the numbers 0, 1 and 2^64-1.
func inoOf(kind string, parts ...string) uint64 {
	var room [192]byte // on the stack: this runs for every entry of a listing
	text := append(room[:0], kind...)
	for _, part := range parts {
		text = append(append(text, 0), part...)
	}
	sum := sha256.Sum256(text)
	ino := binary.BigEndian.Uint64(sum[:8])
	switch ino {
	case 0, 1, ^uint64(0):
		return 2
	}
	return ino
}

// inoOfManifest places a manifest's directory by whether it is an index, and by
// when it was created, where the registry tells.
func inoOfManifest(repo, name string, index bool, created int64) uint64 {
	ino := inoOf("manifest", repo, name) &^ inoHigh
	if created > 0 {
		at := uint64(created)
		if index {
			at = ^at &^ inoHigh
		}
		ino = at>>inoHashBits<<inoHashBits | ino&(1<<inoHashBits-1)
	}
	if index {
		return max(ino, 2)
	}
	return min(ino|inoHigh, ^uint64(0)-1)
}

// generations tells apart nodes that share an inode number: two nodes with the
// same number and generation are one node to go-fuse and to the kernel.
//
// A generation is a hash of what the node is bound to (a tag's digest, a
// blob's repository) plus how often that node was given up: a blob whose bytes
// turned out wrong must never be opened again, and the next look-up has to give
// a fresh node. Only given-up nodes take memory, and when they are very many, a
// new epoch begins that gives up all nodes at once: they are looked up anew.
type generations struct {
	mu      sync.Mutex        // guards what follows
	retired map[uint64]uint64 // node key -> how often it was given up in this epoch
	epoch   uint64
}

const maxRetired = 1 << 16

// stable is the identity of a node with this inode number, bound to what.
func (g *generations) stable(mode uint32, ino uint64, bound ...string) fusefs.StableAttr {
	gen := inoOf("gen", bound...)
	g.mu.Lock()
	gen += g.retired[ino^gen] + g.epoch<<32
	g.mu.Unlock()
	return fusefs.StableAttr{Mode: mode, Ino: ino, Gen: gen}
}

// retire makes the next stable of the same node differ from what it is now.
func (g *generations) retire(ino uint64, bound ...string) {
	key := ino ^ inoOf("gen", bound...)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.retired) >= maxRetired {
		g.retired = nil
		g.epoch++
	}
	if g.retired == nil {
		g.retired = make(map[uint64]uint64)
	}
	g.retired[key]++
}

const (
	modeDir     = fuse.S_IFDIR
	modeFile    = fuse.S_IFREG
	modeSymlink = fuse.S_IFLNK
)
