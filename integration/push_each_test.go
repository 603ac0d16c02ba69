package integration

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestPushersAndServersAgree pushes with every client to every server and
// reads back with one of them. A mount that differs from what was pushed is
// then the mount's doing.
func TestPushersAndServersAgree(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		for _, p := range pushers {
			t.Run(p.name, func(t *testing.T) {
				for tag, m := range map[string]*fixture.Manifest{
					"image": fixture.Image("amd64", "", "1"),
					"index": fixture.MultiArch("1"),
					"list":  fixture.ManifestList("1"),
					"chart": fixture.Chart("1.0.0"),
					"files": fixture.Titles(),
					"sizes": fixture.Boundaries(),
				} {
					pushWith(t, p.push, s, "team/"+p.name, tag, m)
					checkPulled(t, s, "team/"+p.name, tag, m)
				}
				untagged := fixture.Artifact("application/vnd.example.untagged", p.name)
				pushWith(t, p.push, s, "team/"+p.name, "", untagged)
				checkPulled(t, s, "team/"+p.name, "", untagged)
			})
		}
	})
}

// checkPulled pulls an artifact and all it holds with go-containerregistry
// and compares.
func checkPulled(t testing.TB, s *server, repo, tag string, m *fixture.Manifest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ref, err := ggcrReference(s, repo, tag, m)
	if err != nil {
		t.Fatal(err)
	}
	checkPulledReference(t, ctx, ref, m)
}

func checkPulledReference(t testing.TB, ctx context.Context, ref name.Reference, m *fixture.Manifest) {
	t.Helper()
	got, err := remote.Get(ref, remote.WithContext(ctx))
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	if !bytes.Equal(got.Manifest, m.Raw) {
		t.Errorf("%s: manifest differs:\n got %s\nwant %s", ref, got.Manifest, m.Raw)
	}
	if string(got.MediaType) != m.MediaType {
		t.Errorf("%s: media type %s, want %s", ref, got.MediaType, m.MediaType)
	}
	for _, blob := range m.Blobs {
		checkPulledBlob(t, ctx, ref, blob)
	}
	for _, child := range m.Children {
		checkPulledReference(t, ctx, ref.Context().Digest(child.Digest.String()), child)
	}
}

func checkPulledBlob(t testing.TB, ctx context.Context, ref name.Reference, blob fixture.Blob) {
	t.Helper()
	layer, err := remote.Layer(ref.Context().Digest(blob.Digest.String()), remote.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	body, err := layer.Compressed()
	if err != nil {
		t.Fatalf("pull blob %s: %v", blob.Digest, err)
	}
	defer body.Close()
	sum := digest.Canonical.Digester()
	n, err := io.Copy(sum.Hash(), body)
	if err != nil || n != blob.Size || sum.Digest() != blob.Digest {
		t.Errorf("blob of %s: got %d bytes with %s, %v; want %d with %s", ref, n, sum.Digest(), err, blob.Size, blob.Digest)
	}
}
