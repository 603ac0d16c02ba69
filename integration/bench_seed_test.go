package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// seeder fills a registry by calling its handler, without a network between:
// hundreds of thousands of pushes are only what a benchmark begins with.
type seeder struct {
	registry http.Handler
}

// seed fills what s serves.
func (s *server) seed() seeder { return seeder{s.gate.next} }

// seedLocalACR makes a registry's data directory, for servers to be opened on.
func seedLocalACR(b *testing.B, fill func(seeder)) (root string) {
	b.Helper()
	root = b.TempDir()
	registry, err := localacr.Open(localacr.Config{Root: root})
	if err != nil {
		b.Fatal(err)
	}
	fill(seeder{registry})
	if err := registry.Close(); err != nil {
		b.Fatal(err)
	}
	return root
}

// do sends one request, whose answer has to be status.
func (s seeder) do(status int, method, target, contentType string, body io.Reader) (http.Header, error) {
	req := httptest.NewRequest(method, target, body)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.SetBasicAuth("bench", "bench") // distribution looks only whether there is something
	answer := httptest.NewRecorder()
	s.registry.ServeHTTP(answer, req)
	if answer.Code != status {
		return nil, fmt.Errorf("%s %s: %d %s", method, target, answer.Code, answer.Body)
	}
	return answer.Header(), nil
}

// blob uploads a blob.
func (s seeder) blob(repo string, blob fixture.Blob) error {
	header, err := s.do(http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	// One that the client sends whole, whose length says so.
	location := header.Get("Location")
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	_, err = s.do(http.StatusCreated, "PUT", location+separator+"digest="+blob.Digest.String(), "application/octet-stream", blob.Open())
	return err
}

// manifest pushes a manifest whose blobs are there, under a tag or, without
// one, under its digest.
func (s seeder) manifest(repo, tag string, m *fixture.Manifest) error {
	if tag == "" {
		tag = m.Digest.String()
	}
	_, err := s.do(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, m.MediaType, bytes.NewReader(m.Raw))
	return err
}

// artifact pushes a manifest after its blobs.
func (s seeder) artifact(b *testing.B, repo, tag string, m *fixture.Manifest) {
	b.Helper()
	for _, blob := range m.Blobs {
		if err := s.blob(repo, blob); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.manifest(repo, tag, m); err != nil {
		b.Fatal(err)
	}
}

// tags pushes n tags on one artifact.
func (s seeder) tags(b *testing.B, repo string, n int, m *fixture.Manifest) {
	b.Helper()
	s.artifact(b, repo, tagName(0), m)
	each(b, n-1, func(i int) error { return s.manifest(repo, tagName(i+1), m) })
}

// images pushes images into a repository, all with the same blobs, and spreads
// tags over them.
func (s seeder) images(repo string, tags, manifests int) error {
	for i := range tags {
		m := smallImage(fmt.Sprintf("%s %d", repo, i%manifests))
		if i == 0 {
			for _, blob := range m.Blobs {
				if err := s.blob(repo, blob); err != nil {
					return err
				}
			}
		}
		if err := s.manifest(repo, fmt.Sprintf("v%d", i), m); err != nil {
			return err
		}
	}
	return nil
}

// smallImage is an image whose manifest has a title, and so a digest of its
// own.
func smallImage(title string) *fixture.Manifest {
	return fixture.Build(fixture.Spec{
		Config:      fixture.Part{MediaType: ocispec.MediaTypeImageConfig, Blob: fixture.Text(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)},
		Layers:      []fixture.Part{{MediaType: ocispec.MediaTypeImageLayerGzip, Blob: fixture.Text("a layer")}},
		Annotations: map[string]string{ocispec.AnnotationTitle: title},
	})
}

// largeBlob is an artifact with one file.
func largeBlob(blob fixture.Blob) *fixture.Manifest {
	return fixture.Build(fixture.Spec{
		Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: fixture.Text("{}")},
		Layers: []fixture.Part{fixture.Titled("large.bin", blob)},
	})
}

// each calls f for 0 to n-1, many at once.
func each(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// blobURL is where a registry has a blob of the repository bench.
func blobURL(s *server, d digest.Digest) string { return s.url + "/v2/bench/blobs/" + d.String() }
