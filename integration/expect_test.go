package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/integration/fixture"
)

// entry is what a user is promised at a path: a file with the content of a
// digest, or a symlink. Directories follow from the paths.
type entry struct {
	Digest digest.Digest
	Size   int64
	Target string // of a symlink

	open func() io.Reader // nil: promised to be listed, and ENOENT on open
}

// expectation is the tree below one artifact's directory, by path.
type expectation map[string]entry

// expect works out what an artifact's directory must hold, from the
// manifest's bytes and the naming rules alone.
func expect(t testing.TB, m *fixture.Manifest) expectation {
	t.Helper()
	var body struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(m.Raw, &body); err != nil {
		t.Fatalf("a fixture is no JSON: %v", err)
	}
	tree := expectation{"manifest.json": {
		Digest: m.Digest, Size: int64(len(m.Raw)),
		open: func() io.Reader { return bytes.NewReader(m.Raw) },
	}}
	content := func(d digest.Digest, size int64) entry {
		for _, blob := range m.Blobs {
			if blob.Digest == d {
				return entry{Digest: d, Size: blob.Size, open: blob.Open}
			}
		}
		return entry{Digest: d, Size: size}
	}
	if body.Config != nil {
		tree["config.json"] = content(body.Config.Digest, body.Config.Size)
	}
	used := usableTitles(body.Layers)
	for i, layer := range body.Layers {
		name := used[i]
		if name == "" {
			name = layer.Digest.Encoded() + extension(layer.MediaType)
		}
		tree[name] = content(layer.Digest, layer.Size)
	}
	taken := map[string]bool{}
	for _, child := range body.Manifests {
		name := platformName(child.Platform)
		if name == "" || taken[name] {
			name = child.Digest.String()
		}
		taken[name] = true
		tree["manifests/"+name] = entry{Target: "../../../_manifests/" + child.Digest.String()}
	}
	return tree
}

// usableTitles is the name of each layer that may have its title as a name,
// "" for the others.
func usableTitles(layers []ocispec.Descriptor) []string {
	names := make([]string, len(layers))
	taken := map[string]bool{"manifest.json": true, "config.json": true, "manifests": true}
	folders := map[string]bool{}
	for i, layer := range layers {
		title, ok := layer.Annotations[ocispec.AnnotationTitle]
		if !ok || !safeTitle(title) || taken[title] || folders[title] {
			continue
		}
		names[i], taken[title] = title, true
		for dir := path.Dir(title); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	return names
}

func safeTitle(title string) bool {
	if title == "" || len(title) > 4095 || strings.HasPrefix(title, "manifests/") {
		return false
	}
	if strings.ContainsFunc(title, unicode.IsControl) {
		return false
	}
	for _, component := range strings.Split(title, "/") {
		if component == "" || component == "." || component == ".." || len(component) > 255 {
			return false
		}
	}
	return true
}

// extension tells a media type's file name extension.
func extension(mediaType string) string {
	for _, rule := range []struct{ suffix, extension string }{
		{"tar+gzip", ".tar.gz"}, {"tar.gzip", ".tar.gz"}, {"tar+zstd", ".tar.zst"}, {".tar", ".tar"},
		{"+json", ".json"}, {"/json", ".json"}, {"wasm", ".wasm"},
	} {
		if strings.HasSuffix(mediaType, rule.suffix) {
			return rule.extension
		}
	}
	return ""
}

func platformName(p *ocispec.Platform) string {
	if p == nil || p.OS == "" || p.Architecture == "" || p.OS == "unknown" || p.Architecture == "unknown" {
		return ""
	}
	if p.Variant != "" {
		return fmt.Sprintf("%s-%s-%s", p.OS, p.Architecture, p.Variant)
	}
	return p.OS + "-" + p.Architecture
}

// family is m and every manifest below it, each once.
func family(m *fixture.Manifest) []*fixture.Manifest {
	seen := map[digest.Digest]bool{}
	var all []*fixture.Manifest
	var walk func(*fixture.Manifest)
	walk = func(m *fixture.Manifest) {
		if seen[m.Digest] {
			return
		}
		seen[m.Digest] = true
		all = append(all, m)
		for _, child := range m.Children {
			walk(child)
		}
	}
	walk(m)
	return all
}
