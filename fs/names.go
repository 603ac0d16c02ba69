package fs

import (
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/registry"
)

// The names of the tree, decided by plain functions. Everything that comes
// from a registry is untrusted: what these functions let through is safe to be
// a file name.

const (
	tagsName      = "_tags"
	manifestsName = "_manifests"
	blobsName     = "_blobs"

	manifestName = "manifest.json"
	configName   = "config.json"
	childrenName = "manifests"

	maxComponent = 255  // bytes of a file name, NAME_MAX
	maxTitle     = 1024 // bytes of a title; with the mount point below PATH_MAX
	// Folders of one artifact. The titles in a manifest of 4 MiB can ask for two
	// million, which take gigabytes; no artifact made in earnest has this many.
	maxFolders = 1 << 16
)

// platformPattern is what a platform's parts may look like to become a file name.
var platformPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)

// validComponent tells whether a repository's name can have this component. It
// cannot begin with an underscore, which keeps the tree's own names apart.
func validComponent(name string) bool {
	return !strings.Contains(name, "/") && registry.ValidRepository(name)
}

// parseDigest reads a digest as it stands in a path: sha256:<hex>, or
// sha256-<hex> for tools that split at colons.
func parseDigest(name string) (digest.Digest, bool) {
	d := digest.Digest(name)
	if !strings.Contains(name, ":") {
		d = digest.Digest(strings.Replace(name, "-", ":", 1))
	}
	return d, registry.ValidDigest(d)
}

// titleOf returns the path that a descriptor asks for in its title annotation,
// as oras would write it. ok is false where there is none or it is not safe:
// absolute, leaving the artifact, ending in a slash, with control characters,
// too long, or one of the names that the tree uses itself.
func titleOf(desc ocispec.Descriptor) (title string, ok bool) {
	title = desc.Annotations[ocispec.AnnotationTitle]
	if title == "" || len(title) > maxTitle || strings.HasPrefix(title, "/") || strings.HasSuffix(title, "/") {
		return "", false
	}
	if strings.ContainsFunc(title, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return "", false
	}
	for part := range strings.SplitSeq(title, "/") {
		if part == ".." || len(part) > maxComponent {
			return "", false
		}
	}
	title = path.Clean(title)
	if title == "." {
		return "", false
	}
	switch first, _, _ := strings.Cut(title, "/"); first {
	case manifestName, configName, childrenName:
		return "", false
	}
	return title, true
}

// digestName is the name of a layer without a title: its digest's hex and an
// extension that says how to open it.
func digestName(d digest.Digest, mediaType string) string {
	return d.Encoded() + extension(mediaType)
}

// extension tells a media type's usual file name extension, or "".
func extension(mediaType string) string {
	mediaType, _, _ = strings.Cut(strings.ToLower(mediaType), ";")
	mediaType = strings.TrimSpace(mediaType)
	for _, known := range []struct{ suffix, extension string }{
		{"tar+gzip", ".tar.gz"},
		{"tar.gzip", ".tar.gz"}, // Docker's spelling
		{"tar+zstd", ".tar.zst"},
		{"tar.zstd", ".tar.zst"},
		{".tar", ".tar"},
		{"+tar", ".tar"},
		{"/tar", ".tar"},
		{"/x-tar", ".tar"},
		{"+json", ".json"},
		{"/json", ".json"},
		{"+wasm", ".wasm"},
		{"/wasm", ".wasm"},
	} {
		if strings.HasSuffix(mediaType, known.suffix) {
			return known.extension
		}
	}
	return ""
}

// platformName names an index's child by its platform: linux-amd64,
// linux-arm-v7. ok is false where the index does not tell one.
func platformName(p *ocispec.Platform) (name string, ok bool) {
	if p == nil {
		return "", false
	}
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	for _, part := range parts {
		if part == "unknown" || !platformPattern.MatchString(part) {
			return "", false
		}
	}
	return strings.Join(parts, "-"), true
}

// namer gives out the paths of one artifact's layers, each once.
type namer struct {
	files   map[string]digest.Digest
	folders map[string]bool
	// The digest names that layers may have to fall back to. A title that
	// looks like another layer's must not take it away.
	reserved map[string]digest.Digest
}

func newNamer(layers []ocispec.Descriptor) *namer {
	n := &namer{
		files:    make(map[string]digest.Digest),
		folders:  make(map[string]bool),
		reserved: make(map[string]digest.Digest),
	}
	for _, l := range layers {
		n.reserved[digestName(l.Digest, l.MediaType)] = l.Digest
	}
	return n
}

// name returns the path for a layer, "" when the layer already has it.
func (n *namer) name(layer ocispec.Descriptor) string {
	if title, ok := titleOf(layer); ok {
		if n.files[title] == layer.Digest {
			return ""
		}
		if n.take(title, layer.Digest) {
			return title
		}
	}
	fallback := digestName(layer.Digest, layer.MediaType)
	if n.take(fallback, layer.Digest) {
		return fallback
	}
	return ""
}

// take claims a path, unless it is taken, a folder of another, inside one that
// is a file, or asks for more folders than an artifact may have.
func (n *namer) take(name string, d digest.Digest) bool {
	if _, taken := n.files[name]; taken || n.folders[name] {
		return false
	}
	top, _, nested := strings.Cut(name, "/")
	if owner, ok := n.reserved[top]; ok && (nested || owner != d) {
		return false
	}
	var missing []string
	for dir := path.Dir(name); dir != "." && !n.folders[dir]; dir = path.Dir(dir) {
		if _, file := n.files[dir]; file {
			return false
		}
		missing = append(missing, dir)
	}
	if len(n.folders)+len(missing) > maxFolders {
		return false
	}
	n.files[name] = d
	for _, dir := range missing {
		n.folders[dir] = true
	}
	return true
}
