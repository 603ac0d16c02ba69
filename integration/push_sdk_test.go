package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"github.com/acrfs/acrfs/integration/fixture"
)

// sdkChunk is how much the SDK's users send at a time. It is small, so that
// ordinary fixtures take several chunks.
const sdkChunk = 3 << 20

// pushWithSDK pushes with the official ACR client, blobs in chunks.
func pushWithSDK(ctx context.Context, s *server, repo, tag string, m *fixture.Manifest) error {
	// A client keeps one token whatever it is for; two keep out of each
	// other's way.
	blobs, err := acr.NewBlobClient(s.url, nil, nil)
	if err != nil {
		return err
	}
	manifests, err := acr.NewClient(s.url, nil, nil)
	if err != nil {
		return err
	}
	return sdkPush(ctx, blobs, manifests, repo, tag, m)
}

func sdkPush(ctx context.Context, blobs *acr.BlobClient, manifests *acr.Client, repo, tag string, m *fixture.Manifest) error {
	for _, blob := range m.Blobs {
		if err := sdkUpload(ctx, blobs, repo, blob); err != nil {
			return fmt.Errorf("blob %s: %w", blob.Digest, err)
		}
	}
	for _, child := range m.Children {
		if err := sdkPush(ctx, blobs, manifests, repo, "", child); err != nil {
			return err
		}
	}
	reference := tag
	if reference == "" {
		reference = m.Digest.String()
	}
	body := readSeekNopCloser{bytes.NewReader(m.Raw)}
	answer, err := manifests.UploadManifest(ctx, repo, reference, acr.ContentType(m.MediaType), body, nil)
	if err != nil {
		return err
	}
	if got := *answer.DockerContentDigest; got != m.Digest.String() {
		return fmt.Errorf("the server stored %s as %s", m.Digest, got)
	}
	return nil
}

func sdkUpload(ctx context.Context, client *acr.BlobClient, repo string, blob fixture.Blob) error {
	started, err := client.StartUpload(ctx, repo, nil)
	if err != nil {
		return err
	}
	location, sum, content := *started.Location, acr.NewBlobDigestCalculator(), blob.Open()
	buffer := make([]byte, sdkChunk)
	for offset := int64(0); ; {
		n, err := io.ReadFull(content, buffer)
		if errors.Is(err, io.EOF) {
			break
		}
		first, last := int32(offset), int32(offset)+int32(n)-1
		chunk, err := client.UploadChunk(ctx, location, bytes.NewReader(buffer[:n]), sum,
			&acr.BlobClientUploadChunkOptions{RangeStart: &first, RangeEnd: &last})
		if err != nil {
			return err
		}
		location = *chunk.Location
		offset += int64(n)
	}
	_, err = client.CompleteUpload(ctx, location, sum, nil)
	return err
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

// sdkClient is the official client for one server.
func sdkClient(t testing.TB, s *server) *acr.Client {
	t.Helper()
	client, err := acr.NewClient(s.url, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
