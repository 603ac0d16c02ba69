package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignSkopeoCopiesOverTLS pushes an OCI layout and pulls it again, with
// a certificate that skopeo is told to trust and nothing switched off.
func TestForeignSkopeoCopiesOverTLS(t *testing.T) {
	needTools(t, "skopeo")
	s := newLocalACR(t)
	index := fixture.Index(ocispec.MediaTypeImageIndex, fixture.Image("amd64", "", "1"), fixture.Image("arm64", "", "1"))
	layout := filepath.Join(t.TempDir(), "layout")
	writeLayout(t, layout, "v1", index)
	host, certificates := serveTLS(t, s)
	remote := "docker://" + host + "/library/app:v1"
	// skopeo's own policy file is the machine's business.
	skopeo := func(args ...string) string {
		return must(t, "skopeo", append([]string{"--insecure-policy"}, args...)...)
	}
	skopeo("copy", "--all", "--dest-cert-dir", certificates, "oci:"+layout+":v1", remote)
	checkPulled(t, s, "library/app", "v1", index)

	again := filepath.Join(t.TempDir(), "again")
	skopeo("copy", "--all", "--src-cert-dir", certificates, remote, "oci:"+again+":v1")
	for _, m := range family(index) {
		checkLayoutHas(t, again, m)
	}
	if raw := skopeo("inspect", "--raw", "--cert-dir", certificates, remote); raw != string(index.Raw) {
		t.Errorf("inspect --raw: %s", raw)
	}
	if tags := skopeo("list-tags", "--cert-dir", certificates, "docker://"+host+"/library/app"); !strings.Contains(tags, `"v1"`) {
		t.Errorf("list-tags: %s", tags)
	}
	skopeo("copy", "--all", "--src-cert-dir", certificates, "--dest-cert-dir", certificates, remote, "docker://"+host+"/team/copy:v1")
	checkPulled(t, s, "team/copy", "v1", index)
	skopeo("delete", "--cert-dir", certificates, "docker://"+host+"/team/copy@"+index.Digest.String())
}

func checkLayoutHas(t *testing.T, layout string, m *fixture.Manifest) {
	t.Helper()
	for _, want := range append([]fixture.Blob{fixture.Bytes(m.Raw)}, m.Blobs...) {
		if err := sameContent(filepath.Join(layout, "blobs/sha256", want.Digest.Encoded()), blobEntry(want)); err != nil {
			t.Error(err)
		}
	}
}

// writeLayout writes an artifact as an OCI image layout.
func writeLayout(t testing.TB, dir, tag string, m *fixture.Manifest) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path string, content io.Reader) {
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := io.Copy(file, content); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range family(m) {
		for _, blob := range append([]fixture.Blob{fixture.Bytes(part.Raw)}, part.Blobs...) {
			write(filepath.Join(blobs, blob.Digest.Encoded()), blob.Open())
		}
	}
	root := m.Descriptor()
	root.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	index, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{root}})
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "index.json"), strings.NewReader(strings.Replace(string(index), `"schemaVersion":0`, `"schemaVersion":2`, 1)))
	write(filepath.Join(dir, "oci-layout"), strings.NewReader(`{"imageLayoutVersion":"1.0.0"}`))
}

// serveTLS offers a server over TLS as well. It returns host:port and a
// directory with the authority's certificate, as container tools take it.
func serveTLS(t testing.TB, s *server) (host, certificates string) {
	t.Helper()
	certificate, authority := selfSigned(t)
	secure := httptest.NewUnstartedServer(http.Handler(s.gate))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	secure.StartTLS()
	t.Cleanup(func() {
		secure.CloseClientConnections()
		secure.Close()
	})
	certificates = t.TempDir()
	if err := os.WriteFile(filepath.Join(certificates, "ca.crt"), authority, 0o644); err != nil {
		t.Fatal(err)
	}
	return secure.Listener.Addr().String(), certificates
}

// selfSigned is a certificate for loopback under both its names, since blobs
// are redirected to the other one, and what to trust for it.
func selfSigned(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
