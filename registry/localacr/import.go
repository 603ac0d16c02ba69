package localacr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Imported says what Import found in a layout, new here or not.
type Imported struct {
	Repository string
	Tags       []string // that the layout names
	Manifests  int
	Blobs      int
}

// Import takes an OCI image layout, a folder or a tar archive (plain or gzip),
// into a repository. An empty repository name is made of the file's. A tag is
// what the layout's index calls a manifest, or latest if there is only one
// manifest and it has no name. What is there already stays as it is, locks and
// times included; so does a tag that was moved since an earlier Import. A
// repository that is locked gets no manifest.
func (s *Server) Import(ctx context.Context, path, repository string) (Imported, error) {
	if !s.enter() {
		return Imported{}, errClosed
	}
	defer s.leave()
	done, err := s.importLayout(ctx, path, repository)
	if err != nil {
		return done, fmt.Errorf("import %s: %w", path, err)
	}
	return done, nil
}

func (s *Server) importLayout(ctx context.Context, path, repository string) (Imported, error) {
	if repository == "" {
		whole, err := filepath.Abs(path)
		if err != nil {
			return Imported{}, err
		}
		repository = nameOf(whole)
	}
	if !validRepository(repository) {
		return Imported{}, fmt.Errorf("%q is not a repository name", repository)
	}
	l, err := s.openLayout(path)
	if err != nil {
		return Imported{}, err
	}
	defer l.close()
	im := importer{ctx: ctx, s: s, from: l, seen: map[string]bool{}, done: Imported{Repository: repository}}
	return im.done, im.run(&im.done)
}

// between is what stands between the letters and digits of a file name, and
// separator what may stand there in a repository name.
var (
	between   = regexp.MustCompile(`[^a-z0-9]+`)
	separator = regexp.MustCompile(`^(?:\.|_|__|-+)$`)
)

// nameOf makes a repository name of a file name, as far as it can.
func nameOf(path string) string {
	name := strings.ToLower(filepath.Base(path))
	for _, ending := range []string{".gz", ".tgz", ".tar", ".oci"} {
		name = strings.TrimSuffix(name, ending)
	}
	name = between.ReplaceAllStringFunc(name, func(s string) string {
		if separator.MatchString(s) {
			return s
		}
		return "-"
	})
	return strings.Trim(name, "._-")
}

// importer walks from a layout's index to everything it refers to.
type importer struct {
	ctx  context.Context
	s    *Server
	from layout
	seen map[string]bool
	done Imported
}

// layoutEntry is a manifest in a layout's index.
type layoutEntry struct {
	descriptor
	Annotations map[string]string `json:"annotations"`
}

func (im *importer) run(done *Imported) error {
	defer func() { *done = im.done }()
	data, err := im.read("index.json")
	if err != nil {
		return fmt.Errorf("not an OCI image layout: %w", err)
	}
	var index struct {
		Manifests []layoutEntry `json:"manifests"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	for _, entry := range index.Manifests {
		if err := im.manifest(entry, tagOf(entry, len(index.Manifests) == 1), ""); err != nil {
			return err
		}
	}
	return nil
}

// tagOf is the tag that a layout means for a manifest.
func tagOf(entry layoutEntry, only bool) string {
	name := entry.Annotations["org.opencontainers.image.ref.name"]
	if name == "" {
		name = entry.Annotations["io.containerd.image.name"]
	}
	if _, tag, ok := cutLast(name, ":"); ok {
		name = tag // a whole reference
	}
	switch {
	case validTag(name):
		return name
	case only:
		return "latest"
	}
	return ""
}

// manifest imports a manifest after everything that it needs. index is the
// digest of the index that it is in, if it is in one.
func (im *importer) manifest(entry layoutEntry, tag, index string) error {
	if err := im.ctx.Err(); err != nil {
		return err
	}
	if !validDigest(entry.Digest) {
		return fmt.Errorf("%q is not a digest", entry.Digest)
	}
	again := im.seen[entry.Digest] // under another name
	if again && tag == "" {
		return nil
	}
	im.seen[entry.Digest] = true
	data, err := im.read(blobName(entry.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return notInLayout(entry.descriptor, index)
	}
	if err != nil {
		return err
	}
	p, err := parseManifest(entry.MediaType, data, entry.Digest)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", entry.Digest, err)
	}
	for _, child := range p.Manifests {
		if err := im.child(child, entry.Digest); err != nil {
			return err
		}
	}
	required := p.required()
	for _, digest := range p.blobs() {
		err := im.blob(digest)
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(required, digest) {
			continue
		}
		if err != nil {
			return err
		}
	}
	var tags []string
	if tag != "" {
		tags = []string{tag}
	}
	if err := im.s.store.place(im.ctx, im.done.Repository, p, tags...); err != nil {
		return fmt.Errorf("manifest %s: %w", entry.Digest, err)
	}
	if !again {
		im.done.Manifests++
	}
	im.done.Tags = append(im.done.Tags, tags...)
	return nil
}

// notInLayout is what to say of a manifest that the layout does not have. Tools
// that save one platform of an image leave the others in its index.
func notInLayout(d descriptor, index string) error {
	if index == "" {
		return fmt.Errorf("manifest %s is not in the layout", d.Digest)
	}
	name := d.Digest
	if d.Platform != nil {
		name += " (" + d.Platform.OS + "/" + d.Platform.Architecture + ")"
	}
	return fmt.Errorf("manifest %s of index %s is not in the layout; save it with all platforms", name, index)
}

// child imports what an index names: a manifest, or a blob of BuildKit's cache,
// which is an index of layers and a config.
func (im *importer) child(d descriptor, index string) error {
	if !blobType.MatchString(d.MediaType) {
		return im.manifest(layoutEntry{descriptor: d}, "", index)
	}
	err := im.blob(d.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return notInLayout(d, index)
	}
	return err
}

var blobType = regexp.MustCompile(`\.image\.(layer|rootfs|config)\.|\.container\.image\.|\.buildkit\.cacheconfig\.`)

func (im *importer) blob(digest string) error {
	if im.seen[digest] {
		return nil
	}
	r, err := im.from.open(blobName(digest))
	if err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	defer r.Close()
	if err := im.s.take(im.ctx, im.done.Repository, digest, contextReader{im.ctx, r}); err != nil {
		return err
	}
	im.seen[digest] = true
	im.done.Blobs++
	return nil
}

// read returns a small file of the layout.
func (im *importer) read(name string) ([]byte, error) {
	r, err := im.from.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, manifestLimit+1))
	if err == nil && n > manifestLimit {
		err = fmt.Errorf("%s is larger than 4 MiB", name)
	}
	return b.Bytes(), err
}

// blobName is where a layout keeps a blob.
func blobName(digest string) string {
	return "blobs/" + strings.Replace(digest, ":", "/", 1)
}

// contextReader ends a long copy when nobody wants it any more.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
