package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestServeSaysWhatToTypeNext(t *testing.T) {
	root := t.TempDir()
	p := start(t, command(t, "serve", "--listen", "127.0.0.1:0", "--root", root))
	said := p.until("next:")
	url := strings.TrimSuffix(strings.Fields(said)[1], ",")
	if !strings.Contains(said, "data in "+root) || !strings.HasSuffix(said, "next: acrfs mount "+url+" DIRECTORY\n") {
		t.Errorf("it said:\n%s", said)
	}
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}

func TestServeKeepsItsDataInTheUsersDataDirectory(t *testing.T) {
	cmd := command(t, "serve", "--listen", "127.0.0.1:0", "--seed")
	data := t.TempDir()
	cmd.Env = append(cmd.Env, "XDG_DATA_HOME="+data)
	p := start(t, cmd)
	p.until("data in " + filepath.Join(data, "acrfs", "registry"))
	p.until("next:")

	// The directory is taken, and a second one says so.
	second := command(t, "serve", "--listen", "127.0.0.1:0", "--root", filepath.Join(data, "acrfs", "registry"))
	out, err := second.CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a second server on the same data: %v, %q", err, out)
	}
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}

func TestServeFinishesRunningRequests(t *testing.T) {
	p, url := serveSeeded(t, "--latency", "500ms")
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	// The request is in its latency, or about to be accepted: either way the
	// server knows it before it stops, as its port is open until then.
	eventually(t, "the connection", func() bool { return connections(t, url) > 0 })
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	if err := <-answered; err != nil {
		t.Errorf("the running request: %v", err)
	}
}

// connections counts established TCP connections to url's port.
func connections(t *testing.T, url string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	_, decimal, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(decimal)
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf("%04X", number)
	n := 0
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], ":"+port) && f[3] == "01" {
			n++
		}
	}
	return n
}

func TestServeSelfSignedIsTrustedByItsAuthority(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "certs")
	var authority []byte
	for range 2 { // the second start keeps the authority
		p, url := serveSeeded(t, "--tls-self-signed", certs)
		pem, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if authority != nil && string(authority) != string(pem) {
			t.Error("a second start made another authority")
		}
		authority = pem
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			t.Fatal("ca.pem has no certificate")
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		for _, name := range []string{"127.0.0.1", "localhost"} {
			resp, err := client.Get(strings.Replace(url, "127.0.0.1", name, 1) + "/v2/")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if !strings.Contains(resp.Header.Get("WWW-Authenticate"), `realm="https://`) {
				t.Errorf("%s: status %s, challenge %q", name, resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
		}
		client.CloseIdleConnections()
		if _, err := http.Get(url + "/v2/"); err == nil {
			t.Error("a client without the authority was served")
		}
		if status := p.stop(syscall.SIGTERM); status != exitDone {
			t.Errorf("exit status %d, want %d", status, exitDone)
		}
	}
	if info, err := os.Stat(filepath.Join(certs, "ca-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v, want mode 0600", info, err)
	}
}

func TestServeImportsLayoutsAndCollectsWhenAsked(t *testing.T) {
	layout := filepath.Join(t.TempDir(), "imported")
	blob := func(content string) (digest string, size int) {
		t.Helper()
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		if err := os.WriteFile(filepath.Join(layout, "blobs", "sha256", sum), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "sha256:" + sum, len(content)
	}
	if err := os.MkdirAll(filepath.Join(layout, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	config, size := blob("{}")
	manifest, manifestSize := blob(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[]}`, config, size))
	for name, text := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
			`"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`, manifest, manifestSize),
	} {
		if err := os.WriteFile(filepath.Join(layout, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, command(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--import", layout))
	if said := p.until("next:"); !strings.Contains(said, "imported "+layout+" as imported: 1 tags, 1 manifests, 1 blobs\n") {
		t.Errorf("it said:\n%s", said)
	}
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "collecting", func() bool { return strings.Contains(p.stderr.String(), "msg=collected") })
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}

	_, stderr, status := runHere(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--import", filepath.Join(layout, "none"))
	if status != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--import") {
		t.Errorf("a layout that is not there: status %d, %q", status, stderr)
	}
}

func TestMountOverTLSWithOurOwnAuthority(t *testing.T) {
	certs := t.TempDir()
	_, url := serveSeeded(t, "--tls-self-signed", certs)
	p, dir, _ := mountFor(t, url, "--tls-ca", filepath.Join(certs, "ca.pem"))
	tags(t, dir)
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}
