package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/acrfs/acrfs/integration/fixture"
)

// pushWithORAS copies the artifact's graph with oras-go, as the oras command
// and notation do.
func pushWithORAS(ctx context.Context, s *server, repo, tag string, m *fixture.Manifest) error {
	repository, err := orasRepository(s, repo)
	if err != nil {
		return err
	}
	root := m.Descriptor()
	root.Platform = nil
	if err := oras.CopyGraph(ctx, orasSource(m), repository, root, oras.DefaultCopyGraphOptions); err != nil || tag == "" {
		return err
	}
	return repository.Tag(ctx, root, tag)
}

func orasRepository(s *server, repo string) (*orasremote.Repository, error) {
	repository, err := orasremote.NewRepository(s.host() + "/" + repo)
	if err != nil {
		return nil, err
	}
	repository.PlainHTTP = true
	return repository, nil
}

// orasStore is the content that oras-go copies from.
type orasStore map[digest.Digest]func() io.Reader

func orasSource(m *fixture.Manifest) orasStore {
	store := orasStore{}
	store.add(m)
	return store
}

func (s orasStore) add(m *fixture.Manifest) {
	s[m.Digest] = func() io.Reader { return bytes.NewReader(m.Raw) }
	for _, blob := range m.Blobs {
		s[blob.Digest] = blob.Open
	}
	for _, child := range m.Children {
		s.add(child)
	}
}

func (s orasStore) Exists(_ context.Context, d ocispec.Descriptor) (bool, error) {
	_, ok := s[d.Digest]
	return ok, nil
}

func (s orasStore) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	open, ok := s[d.Digest]
	if !ok {
		return nil, fmt.Errorf("the fixture has no %s", d.Digest)
	}
	return io.NopCloser(open()), nil
}
