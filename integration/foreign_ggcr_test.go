package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/acrfs/acrfs/integration/fixture"
)

// The tests in foreign_*_test.go let clients that are not ours judge localacr.

// TestForeignCraneCopiesListsAndDeletes runs crane's everyday calls.
func TestForeignCraneCopiesListsAndDeletes(t *testing.T) {
	s := newLocalACR(t)
	index := fixture.MultiArch("1")
	pushWith(t, pushWithGGCR, s, "team/app", "v1", index)
	at := func(repo, tag string) string { return s.host() + "/" + repo + ":" + tag }

	if err := crane.Copy(at("team/app", "v1"), at("team/copy", "v1"), crane.Insecure); err != nil {
		t.Fatalf("copy: %v", err)
	}
	checkPulled(t, s, "team/copy", "v1", index)
	if err := crane.Tag(at("team/app", "v1"), "v2", crane.Insecure); err != nil {
		t.Fatalf("tag: %v", err)
	}
	tags, err := crane.ListTags(s.host()+"/team/app", crane.Insecure)
	if diff := cmp.Diff([]string{"v1", "v2"}, tags); err != nil || diff != "" {
		t.Errorf("tags: %v (-want +got):\n%s", err, diff)
	}
	repositories, err := crane.Catalog(s.host(), crane.Insecure)
	if diff := cmp.Diff([]string{"team/app", "team/copy"}, repositories); err != nil || diff != "" {
		t.Errorf("catalog: %v (-want +got):\n%s", err, diff)
	}
	if got, err := crane.Digest(at("team/app", "v2"), crane.Insecure); err != nil || got != index.Digest.String() {
		t.Errorf("digest: %s, %v; want %s", got, err, index.Digest)
	}
	if _, err := crane.Pull(at("team/app", "v1"), crane.Insecure, crane.WithPlatform(&v1.Platform{OS: "linux", Architecture: "arm64"})); err != nil {
		t.Errorf("pull: %v", err)
	}

	// ACR deletes manifests by digest alone.
	err = crane.Delete(at("team/app", "v1"), crane.Insecure)
	checkStatus(t, "delete by tag", err, http.StatusMethodNotAllowed)
	if err := crane.Delete(s.host()+"/team/app@"+index.Digest.String(), crane.Insecure); err != nil {
		t.Errorf("delete by digest: %v", err)
	}
	_, err = crane.Digest(at("team/app", "v2"), crane.Insecure)
	checkStatus(t, "a tag of a deleted manifest", err, http.StatusNotFound)
}

// TestForeignCranePullsUnderAnyName pulls from a registry called what people
// call theirs. crane keeps its token for a redirect to the same host, and
// follows none from a name to a private address.
func TestForeignCranePullsUnderAnyName(t *testing.T) {
	s := newLocalACR(t)
	image := fixture.Image("amd64", "", "1")
	pushWith(t, pushWithGGCR, s, "team/app", "v1", image)
	_, port, _ := strings.Cut(s.host(), ":")
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.host())
	}}
	defer transport.CloseIdleConnections()
	for _, host := range []string{"127.0.0.1", "localhost", "127.0.0.2", "registry", "192.0.2.7"} {
		pulled, err := crane.Pull(host+":"+port+"/team/app:v1", crane.Insecure, crane.WithTransport(transport))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		layers, err := pulled.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range layers {
			content, err := layer.Compressed()
			if err != nil {
				t.Errorf("%s: layer %d: %v", host, i, err)
				continue
			}
			if n, err := io.Copy(io.Discard, content); err != nil || n != image.Blobs[i+1].Size {
				t.Errorf("%s: layer %d: %d bytes, %v; want %d", host, i, n, err, image.Blobs[i+1].Size)
			}
			content.Close()
		}
	}
}

func checkStatus(t *testing.T, what string, err error, want int) {
	t.Helper()
	var refused *transport.Error
	if !errors.As(err, &refused) || refused.StatusCode != want {
		t.Errorf("%s: %v, want status %d", what, err, want)
	}
}

// TestForeignMountAcrossRepositories has go-containerregistry take a layer
// from a repository that has it, and sees that no byte is sent.
func TestForeignMountAcrossRepositories(t *testing.T) {
	s := newLocalACR(t)
	large := fixture.Large(40, 6<<20)
	blob := large.Blobs[1]
	pushWith(t, pushWithGGCR, s, "from", "v1", large)
	from, err := name.NewRepository(s.host()+"/from", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.NewRepository(s.host()+"/to", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := remote.Layer(from.Digest(blob.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	s.gate.forget()
	mountable := &remote.MountableLayer{Layer: layer, Reference: from.Digest(blob.Digest.String())}
	if err := remote.WriteLayer(to, mountable); err != nil {
		t.Fatal(err)
	}
	if n := s.gate.count(func(r *record) bool { return r.Method == http.MethodPatch }); n > 0 {
		t.Errorf("the layer was uploaded although it could be mounted:\n%s", s.gate.describe())
	}
	checkPulledBlob(t, t.Context(), to.Tag("any"), blob)
}

// TestForeignPagesAreFollowed lists more than a page of everything.
func TestForeignPagesAreFollowed(t *testing.T) {
	const tags = 1250
	s := newLocalACR(t)
	pushTags(t, s, "many", tags, fixture.Chart("1"))
	repo, err := name.NewRepository(s.host()+"/many", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 7 * 31, 1000, 5000} {
		options := []remote.Option{}
		if size > 0 {
			options = append(options, remote.WithPageSize(size))
		}
		got, err := remote.List(repo, options...)
		if err != nil || len(got) != tags || !slices.IsSorted(got) {
			t.Errorf("pages of %d: %d tags, %v, sorted: %t; want %d", size, len(got), err, slices.IsSorted(got), tags)
		}
	}
	for i := range 15 {
		push(t, s, fmt.Sprintf("a/repo%02d", i), "v1", fixture.Chart("1"))
	}
	registry, err := name.NewRegistry(s.host(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	repositories, err := remote.Catalog(t.Context(), registry, remote.WithPageSize(4))
	if err != nil || len(repositories) != 16 {
		t.Errorf("catalog in pages of 4: %q, %v; want 16", repositories, err)
	}
}
