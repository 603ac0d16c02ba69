package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignPodmanPushesAndPullsOverTLS pulls an image of an index, pushes it
// under other names, alone and in an index, and pulls those into an empty
// storage. Podman unpacks every layer and compares it with the config, and the
// config's digest is the image's id, so that equal ids are equal images.
func TestForeignPodmanPushesAndPullsOverTLS(t *testing.T) {
	needTools(t, "podman")
	needRoot(t) // to unpack layers without user namespaces
	s := newLocalACR(t)
	image, id := unpackable("amd64", fixture.GzipLayer) // Docker's manifests know no zstd
	arm, armID := unpackable("arm64", fixture.ZstdLayer)
	push(t, s, "library/app", "v1", fixture.Index(ocispec.MediaTypeImageIndex, image, arm))
	host, certificates := serveTLS(t, s)

	first := newPodman(t, certificates)
	remote := host + "/library/app:v1"
	for arch, want := range map[string]string{"arm64": armID, "amd64": id} {
		if got := first.pull("--arch", arch, remote); got != want {
			t.Errorf("pulled %s as %s, want %s", arch, got, want)
		}
	}
	alone, listed := host+"/team/alone:v1", host+"/team/listed:v1"
	first.run("push", "--quiet", "--cert-dir", certificates, id, "docker://"+alone)
	first.run("push", "--quiet", "--cert-dir", certificates, "--format", "v2s2", id, "docker://"+host+"/team/alone:docker")
	first.run("manifest", "create", "many", "containers-storage:"+id)
	first.run("manifest", "push", "--quiet", "--all", "--cert-dir", certificates, "many", "docker://"+listed)

	second := newPodman(t, certificates)
	for _, reference := range []string{alone, listed} {
		if got := second.pull("--arch", "amd64", reference); got != id {
			t.Errorf("pulled %s again as %s, want %s", reference, got, id)
		}
	}
	second.pull(host + "/team/alone:docker") // another config, hence another id
}

// unpackable is an image whose config says the truth about its layers, the last
// of which pack makes. It returns the id as well that podman calls it by.
func unpackable(architecture string, pack func(...fixture.Entry) fixture.Part) (*fixture.Manifest, string) {
	files := []fixture.Entry{
		{Name: "etc/os-release", Content: "ID=fixture\n"},
		{Name: "usr/share/arch", Content: architecture},
		{Name: "usr/share/doc/noise", Content: strings.Repeat(architecture+" ", 100_000)},
	}
	var unpacked []digest.Digest
	for _, file := range files {
		unpacked = append(unpacked, fixture.PlainLayer(file).Blob.Digest)
	}
	config := must1(json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: architecture},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: unpacked},
	}))
	blob := fixture.Bytes(config)
	return fixture.Build(fixture.Spec{
		Config:   fixture.Part{MediaType: ocispec.MediaTypeImageConfig, Blob: blob},
		Layers:   []fixture.Part{fixture.PlainLayer(files[0]), fixture.GzipLayer(files[1]), pack(files[2])},
		Platform: &ocispec.Platform{OS: "linux", Architecture: architecture},
	}), blob.Digest.Encoded()
}

func must1[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("a fixture: %v", err))
	}
	return value
}

// podman is podman with a storage of its own, that runs no containers.
type podman struct {
	t            *testing.T
	global       []string
	certificates string
}

func newPodman(t *testing.T, certificates string) podman {
	t.Helper()
	// t.TempDir would be too long: podman takes 50 characters.
	dir, err := os.MkdirTemp("", "podman-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// The machine's own policy file may forbid, or be missing.
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return podman{t, []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
	}, certificates}
}

// run returns what podman prints. What it says besides, about a machine where
// it could not run containers, is no matter.
func (p podman) run(args ...string) string {
	p.t.Helper()
	r := run(p.t, "podman", append(append([]string{}, p.global...), args...)...)
	if r.code != 0 {
		p.t.Fatalf("podman %q: %s", args, r)
	}
	return strings.TrimSpace(r.stdout)
}

// pull returns the id of the image that it pulled.
func (p podman) pull(args ...string) string {
	p.t.Helper()
	return p.run(append([]string{"pull", "--quiet", "--cert-dir", p.certificates}, args...)...)
}
