package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/integration/fixture"
)

// pushWithGGCR pushes with go-containerregistry's high-level calls, as crane
// and ko do.
func pushWithGGCR(ctx context.Context, s *server, repo, tag string, m *fixture.Manifest) error {
	ref, err := ggcrReference(s, repo, tag, m)
	if err != nil {
		return err
	}
	if isIndex(m) {
		return remote.WriteIndex(ref, ggcrIndex{m}, ggcrOptions(ctx, s)...)
	}
	img, err := ggcrImage(m)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, ggcrOptions(ctx, s)...)
}

// pushWithGGCRRaw pushes blobs and manifests one by one, whatever they are.
func pushWithGGCRRaw(ctx context.Context, s *server, repo, tag string, m *fixture.Manifest) error {
	ref, err := ggcrReference(s, repo, tag, m)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(ggcrOptions(ctx, s)...)
	if err != nil {
		return err
	}
	return ggcrPushRaw(ctx, pusher, ref, m)
}

func ggcrPushRaw(ctx context.Context, pusher *remote.Pusher, ref name.Reference, m *fixture.Manifest) error {
	for _, blob := range m.Blobs {
		if err := pusher.Upload(ctx, ref.Context(), ggcrLayer(blob, "application/octet-stream")); err != nil {
			return fmt.Errorf("blob %s: %w", blob.Digest, err)
		}
	}
	for _, child := range m.Children {
		if err := ggcrPushRaw(ctx, pusher, ref.Context().Digest(child.Digest.String()), child); err != nil {
			return err
		}
	}
	return pusher.Push(ctx, ref, ggcrRaw{m})
}

func ggcrOptions(ctx context.Context, s *server) []remote.Option {
	options := []remote.Option{remote.WithContext(ctx)}
	if s.auth != nil {
		options = append(options, remote.WithAuth(s.auth))
	}
	return options
}

func ggcrReference(s *server, repo, tag string, m *fixture.Manifest) (name.Reference, error) {
	repository, err := name.NewRepository(s.host()+"/"+repo, name.Insecure)
	if err != nil {
		return nil, err
	}
	if tag == "" {
		return repository.Digest(m.Digest.String()), nil
	}
	return repository.Tag(tag), nil
}

func isIndex(m *fixture.Manifest) bool {
	return m.MediaType == ocispec.MediaTypeImageIndex || m.MediaType == fixture.DockerManifestList
}

// ggcrRaw is a manifest as remote.Put takes it.
type ggcrRaw struct{ m *fixture.Manifest }

func (r ggcrRaw) RawManifest() ([]byte, error)        { return r.m.Raw, nil }
func (r ggcrRaw) MediaType() (types.MediaType, error) { return types.MediaType(r.m.MediaType), nil }
func (r ggcrRaw) Digest() (v1.Hash, error)            { return v1.NewHash(r.m.Digest.String()) }
func (r ggcrRaw) Size() (int64, error)                { return int64(len(r.m.Raw)), nil }

// ggcrIndex is an index with its children.
type ggcrIndex struct{ m *fixture.Manifest }

func (i ggcrIndex) MediaType() (types.MediaType, error) { return ggcrRaw(i).MediaType() }
func (i ggcrIndex) Digest() (v1.Hash, error)            { return ggcrRaw(i).Digest() }
func (i ggcrIndex) Size() (int64, error)                { return ggcrRaw(i).Size() }
func (i ggcrIndex) RawManifest() ([]byte, error)        { return i.m.Raw, nil }

func (i ggcrIndex) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(i.m.Raw))
}

func (i ggcrIndex) Image(h v1.Hash) (v1.Image, error) {
	for _, child := range i.m.Children {
		if child.Digest.String() == h.String() {
			return ggcrImage(child)
		}
	}
	return nil, fmt.Errorf("no child %s", h)
}

func (i ggcrIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	for _, child := range i.m.Children {
		if child.Digest.String() == h.String() {
			return ggcrIndex{child}, nil
		}
	}
	return nil, fmt.Errorf("no child %s", h)
}

// ggcrCore is the part of an image that partial makes the rest of.
type ggcrCore struct {
	ggcrRaw
	config []byte
}

func ggcrImage(m *fixture.Manifest) (v1.Image, error) {
	if len(m.Blobs) == 0 {
		return nil, fmt.Errorf("%s has no config", m.Digest)
	}
	return partial.CompressedToImage(ggcrCore{ggcrRaw{m}, m.Blobs[0].ReadAll()})
}

func (c ggcrCore) RawConfigFile() ([]byte, error) { return c.config, nil }

func (c ggcrCore) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, blob := range c.m.Blobs {
		if blob.Digest.String() == h.String() {
			return ggcrLayer(blob, types.OCILayer), nil
		}
	}
	return nil, fmt.Errorf("no layer %s", h)
}

// ggcrBlob is a blob as a layer; nobody looks into it.
type ggcrBlob struct {
	blob      fixture.Blob
	mediaType types.MediaType
}

func ggcrLayer(b fixture.Blob, mediaType types.MediaType) ggcrBlob { return ggcrBlob{b, mediaType} }

func (b ggcrBlob) Digest() (v1.Hash, error)             { return v1.NewHash(b.blob.Digest.String()) }
func (b ggcrBlob) DiffID() (v1.Hash, error)             { return b.Digest() }
func (b ggcrBlob) Compressed() (io.ReadCloser, error)   { return io.NopCloser(b.blob.Open()), nil }
func (b ggcrBlob) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }
func (b ggcrBlob) Size() (int64, error)                 { return b.blob.Size, nil }
func (b ggcrBlob) MediaType() (types.MediaType, error)  { return b.mediaType, nil }
