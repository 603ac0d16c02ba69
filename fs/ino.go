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
// Among the manifests of a repository, indexes have the lower half of the
// numbers and all others the upper half: tools that delete in inode order then
// come to an index before the images it holds.

const inoHigh = 1 << 63

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

// inoOfManifest places a manifest's directory by whether it is an index.
func inoOfManifest(repo, name string, index bool) uint64 {
	ino := inoOf("manifest", repo, name)
	if index {
		return max(ino&^inoHigh, 2)
	}
	return min(ino|inoHigh, ^uint64(0)-1)
}

// generations tells apart nodes that share an inode number: two nodes with the
// same number and generation are one node to go-fuse and to the kernel.
//
// A generation is a hash of what the node is bound to (a tag's digest, a
// blob's repository) plus how often that node was given up: a blob whose bytes
// turned out wrong must never be opened again, and the next look-up has to give
// a fresh node. Only given-up nodes take memory.
type generations struct {
	mu      sync.Mutex
	retired map[uint64]uint64 // node key -> how often it was given up
}

// stable is the identity of a node with this inode number, bound to what.
func (g *generations) stable(mode uint32, ino uint64, bound ...string) fusefs.StableAttr {
	gen := inoOf("gen", bound...)
	g.mu.Lock()
	gen += g.retired[ino^gen]
	g.mu.Unlock()
	return fusefs.StableAttr{Mode: mode, Ino: ino, Gen: gen}
}

// retire makes the next stable of the same node differ from what it is now.
func (g *generations) retire(ino uint64, bound ...string) {
	key := ino ^ inoOf("gen", bound...)
	g.mu.Lock()
	defer g.mu.Unlock()
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
