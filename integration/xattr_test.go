package integration

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// attributes is what listxattr and getxattr tell about a path.
func attributes(t testing.TB, path string) map[string]string {
	t.Helper()
	buffer := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil {
		t.Fatalf("listxattr %s: %v", path, err)
	}
	values := map[string]string{}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(buffer[:n], []byte{0}), []byte{0}) {
		if len(name) > 0 {
			values[string(name)] = attribute(t, path, string(name))
		}
	}
	return values
}

func attribute(t testing.TB, path, name string) string {
	t.Helper()
	value := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil {
		t.Errorf("getxattr %s of %s: %v", name, path, err)
		return ""
	}
	return string(value[:n])
}

const accessAttributes = "user.acr.can_delete user.acr.can_list user.acr.can_read user.acr.can_write "

// TestAttributesFollowTheTable compares the names with the contract's table
// and the values with what was pushed.
func TestAttributesFollowTheTable(t *testing.T) {
	s := newLocalACR(t)
	image := fixture.Image("amd64", "", "1")
	signature := fixture.Referrer(image, "application/vnd.example.signature", "sig", "signed")
	push(t, s, "app", "v1", image)
	push(t, s, "app", "also", image)
	push(t, s, "app", "signature", signature)
	m := mountServer(t, s)
	layer := image.Blobs[1].Digest
	for _, row := range []struct {
		path  string
		names string
		some  map[string]string
	}{
		{
			m.path("app"),
			accessAttributes + "user.acr.created_on user.acr.last_updated_on user.acr.manifest_count user.acr.tag_count",
			map[string]string{"user.acr.tag_count": "3", "user.acr.manifest_count": "2", "user.acr.can_delete": "true"},
		},
		{
			m.tagDir("app", "v1"),
			accessAttributes + "user.acr.created_on user.acr.last_updated_on user.acr.digest",
			map[string]string{"user.acr.digest": image.Digest.String(), "user.acr.can_write": "true"},
		},
		{
			m.manifestDir("app", image.Digest),
			accessAttributes + "user.acr.created_on user.acr.last_updated_on user.acr.digest user.acr.media_type " +
				"user.acr.config_media_type user.acr.architecture user.acr.operating_system user.acr.size user.acr.tags",
			map[string]string{
				"user.acr.digest": image.Digest.String(), "user.acr.media_type": image.MediaType,
				"user.acr.architecture": "amd64", "user.acr.operating_system": "linux", "user.acr.tags": "also v1",
			},
		},
		{
			m.path("app/_tags/signature/manifest.json"),
			"user.oci.digest user.oci.media_type user.oci.artifact_type user.oci.subject user.oci.annotation.org.example.note",
			map[string]string{
				"user.oci.digest": signature.Digest.String(), "user.oci.media_type": signature.MediaType,
				"user.oci.artifact_type": "application/vnd.example.signature", "user.oci.subject": image.Digest.String(),
				"user.oci.annotation.org.example.note": "about " + image.Digest.String(),
			},
		},
		{m.path("app/_tags/v1/config.json"), "user.oci.digest", map[string]string{"user.oci.digest": image.Blobs[0].Digest.String()}},
		{m.path("app/_tags/v1", layer.Encoded()+".tar.gz"), "user.oci.digest", map[string]string{"user.oci.digest": layer.String()}},
		{m.path("app/_blobs", layer.String()), "user.oci.digest", map[string]string{"user.oci.digest": layer.String()}},
	} {
		got := attributes(t, row.path)
		if diff := cmp.Diff(sorted(strings.Fields(row.names)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", row.path, diff)
		}
		for name, want := range row.some {
			if got[name] != want {
				t.Errorf("%s of %s is %q, want %q", name, row.path, got[name], want)
			}
		}
	}
}

// TestAttributesThatAreNot gets what no node has, and sets what nobody may on
// a mount that is read-only.
func TestAttributesThatAreNot(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		push(t, s, "app", "v1", fixture.MultiArch("1"))
		m := mountServer(t, s)
		shell(t, `ls -lR "$1" >/dev/null`, m.dir)
		s.gate.forget()
		buffer := make([]byte, 100)
		for _, path := range []string{
			"", "app", "app/_tags", "app/_manifests", "app/_blobs", "app/_tags/v1",
			"app/_tags/v1/manifest.json", "app/_tags/v1/manifests", "app/_tags/v1/manifests/linux-amd64",
			"app/_tags/v1/manifests/linux-amd64/config.json",
		} {
			path := m.path(path)
			for name, want := range map[string]syscall.Errno{
				"security.selinux": unix.ENOTSUP, "security.capability": unix.ENOTSUP,
				"system.posix_acl_access": unix.ENOTSUP, "trusted.overlay.opaque": unix.ENOTSUP,
			} {
				_, err := unix.Lgetxattr(path, name, buffer)
				checkErrno(t, "getxattr "+name+" of "+path, err, want)
			}
			if !strings.HasSuffix(path, "linux-amd64") { // the kernel has no user.* on symlinks
				_, err := unix.Lgetxattr(path, "user.nothing", buffer)
				checkErrno(t, "getxattr user.nothing of "+path, err, unix.ENODATA)
			}
			if err := unix.Lsetxattr(path, "user.acr.can_delete", []byte("false"), 0); !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) {
				t.Errorf("setxattr of %s on a read-only mount: %v", path, err)
			}
		}
		if n := len(s.gate.requests()); n > 0 {
			t.Errorf("attributes that are not cost %d requests:\n%s", n, s.gate.describe())
		}
	})
}

// TestDigestAttributeOnPlainRegistry is what a registry without properties
// can still tell.
func TestDigestAttributeOnPlainRegistry(t *testing.T) {
	s := newDistribution(t)
	image := fixture.Image("arm64", "", "1")
	push(t, s, "app", "v1", image)
	m := mountServer(t, s)
	if got := attribute(t, m.path("app/_tags/v1/manifest.json"), "user.oci.digest"); got != image.Digest.String() {
		t.Errorf("user.oci.digest is %q, want %s", got, image.Digest)
	}
	if got := attribute(t, m.tagDir("app", "v1"), "user.acr.digest"); got != image.Digest.String() {
		t.Errorf("user.acr.digest is %q, want %s", got, image.Digest)
	}
}
