package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

// Whoever starts it twice learns so in one line and at once, not when all is
// imported.
func TestServeSaysFirstThatItsPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	root := filepath.Join(t.TempDir(), "root")
	stdout, stderr, status := runHere(t, "serve", "--listen", address, "--root", root, "--seed", "--import", filepath.Join(root, "none"))
	want := "acrfs serve: --listen " + address + ": the port is in use; want another one, or 0 for any that is free\n"
	if status != exitFailed || stderr != want || stdout != "" {
		t.Errorf("status %d, it said %q, %q, want %q", status, stdout, stderr, want)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("the data directory was made")
	}
}

func TestServeFinishesRunningRequests(t *testing.T) {
	p, url := serveSeeded(t, "--latency", "2s")
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	// Half a second after the kernel has the connection, net/http does too.
	eventually(t, "the connection", func() bool { return connections(t, url) > 0 })
	time.Sleep(500 * time.Millisecond)
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	if err := <-answered; err != nil {
		t.Errorf("the running request: %v", err)
	}
}

// An upload that is on its way when the signal comes arrives.
func TestServeFinishesARunningUpload(t *testing.T) {
	root := t.TempDir()
	p := start(t, command(t, "serve", "--listen", "127.0.0.1:0", "--root", root))
	url := strings.TrimSuffix(strings.Fields(p.until("serving "))[1], ",")
	a := anyone{t, url}
	begun := a.ask("POST", "a", "/v2/a/blobs/uploads/", "").want(t, http.StatusAccepted)
	body, feed := io.Pipe()
	req, err := http.NewRequest("PATCH", url+begun.Header.Get("Location"), body)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := a.login("a")
	req.Header.Set("Authorization", "Bearer "+token)
	answered := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if got := resp.Header.Get("Range"); resp.StatusCode != http.StatusAccepted || got != "0-10" {
				err = fmt.Errorf("%s, range %q", resp.Status, got)
			}
		}
		answered <- err
	}()
	feed.Write([]byte("hello "))
	eventually(t, "the first half", func() bool {
		info, err := os.Stat(filepath.Join(root, "uploads", begun.Header.Get("Docker-Upload-Uuid")))
		return err == nil && info.Size() == 6
	})
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.until("stopping when running requests are finished, in 30s at the latest")
	feed.Write([]byte("world"))
	feed.Close()
	if err := <-answered; err != nil {
		t.Errorf("the running upload: %v", err)
	}
	<-p.ended
	if status := p.ProcessState.ExitCode(); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
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

// An authority that lost one of its files is not replaced unasked: clients may
// trust it.
func TestServeSaysWhatToDoAboutHalfAnAuthority(t *testing.T) {
	for _, lost := range []string{"ca.pem", "ca-key.pem"} {
		certs := t.TempDir()
		if _, err := selfSigned(certs, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(certs, lost)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, stderr, status := runHere(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--tls-self-signed", certs)
			if status != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "remove ca.pem and ca-key.pem to have new ones") {
				t.Errorf("without %s: status %d, %q", lost, status, stderr)
			}
		}
	}
}

// A directory that cannot be one is told by the flag that named it, and nothing is
// to be removed for it.
func TestServeNamesTheFlagOfADirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, args := range map[string][]string{
		"--root":            {"--root", file},
		"--tls-self-signed": {"--root", t.TempDir(), "--tls-self-signed", file},
	} {
		_, stderr, status := runHere(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
		if status != exitFailed || !strings.Contains(stderr, flag) || !strings.HasSuffix(stderr, "not a directory\n") {
			t.Errorf("%q: status %d, %q", args, status, stderr)
		}
	}
}

func TestServeWithACertificateOfTheUsersOwn(t *testing.T) {
	dir := t.TempDir()
	cert, key, other := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "other.pem")
	roots := x509.NewCertPool()
	for _, keyFile := range []string{other, key} {
		config, err := selfSigned(filepath.Join(dir, filepath.Base(keyFile)+".d"), []string{"registry.test"})
		if err != nil {
			t.Fatal(err)
		}
		pair := config.Certificates[0]
		der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := writePEM(keyFile, "PRIVATE KEY", der, 0o600); err != nil {
			t.Fatal(err)
		}
		if keyFile != key {
			continue
		}
		var chain []byte
		for _, der := range pair.Certificate {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		if err := os.WriteFile(cert, chain, 0o600); err != nil || !roots.AppendCertsFromPEM(chain) {
			t.Fatal(err)
		}
	}

	p, url := serveSeeded(t, "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(url, "https://") {
		t.Errorf("it says that it serves %s", url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "registry.test"}}}
	resp, err := client.Get(url + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if challenge := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer realm="`+url+`/oauth2/token"`) {
		t.Errorf("challenge %q", challenge)
	}
	client.CloseIdleConnections()
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}

	for _, row := range []struct{ cert, key, want string }{
		{cert, other, "private key does not match"},
		{filepath.Join(dir, "none"), key, "no such file"},
		{key, key, "failed to find"},
	} {
		_, stderr, status := runHere(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--tls-cert", row.cert, "--tls-key", row.key)
		if status != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--tls-cert") || !strings.Contains(stderr, row.want) {
			t.Errorf("status %d, %q, want something about %q", status, stderr, row.want)
		}
	}
}

// writeLayout makes an OCI image layout with one manifest, tagged v1.
func writeLayout(t *testing.T, layout string) {
	t.Helper()
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
}

// An OCI layout is a folder, an archive or a compressed one: all of them in one
// go, and each is a repository that can be pulled from.
func TestServeImportsLayoutsAndCollectsWhenAsked(t *testing.T) {
	dir := t.TempDir()
	layout := filepath.Join(dir, "imported")
	writeLayout(t, layout)
	args := []string{"serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--import", layout}
	repositories := map[string]string{layout: "imported"}
	for name, flag := range map[string]string{"Packed.tar": "-cf", "squeezed.tar.gz": "-czf", "short.tgz": "-czf"} {
		archive := filepath.Join(dir, name)
		if out, err := exec.Command("tar", flag, archive, "-C", layout, ".").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		base, _, _ := strings.Cut(strings.ToLower(name), ".")
		repositories[archive] = base
		args = append(args, "--import", archive)
	}
	p := start(t, command(t, args...))
	said := p.until("next:")
	_, rest, _ := strings.Cut(said, "serving ")
	url, _, _ := strings.Cut(rest, ",")
	a := anyone{t, url}
	for path, repository := range repositories {
		if !strings.Contains(said, "imported "+path+" as "+repository+": 1 tags, 1 manifests, 1 blobs\n") {
			t.Errorf("it does not say that it imported %s:\n%s", path, said)
		}
		if got := a.ask("GET", repository, "/v2/"+repository+"/tags/list", "").want(t, http.StatusOK); got.body != `{"name":"`+repository+`","tags":["v1"]}`+"\n" {
			t.Errorf("%s: %s", repository, got.body)
		}
	}
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "collecting", func() bool { return strings.Contains(p.stderr.String(), "msg=collected") })
	if status := p.stop(syscall.SIGTERM); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}

	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("not an archive\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half.tar.gz")
	if whole, err := os.ReadFile(filepath.Join(dir, "squeezed.tar.gz")); err != nil || os.WriteFile(half, whole[:len(whole)/2], 0o600) != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file", text: "neither a folder nor a tar archive", half: "unexpected EOF", dir: "not an OCI image layout",
	} {
		_, stderr, status := runHere(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--import", path)
		if status != exitFailed || strings.Count(stderr, "\n") != 1 || strings.Count(stderr, path) != 1 || !strings.Contains(stderr, want) {
			t.Errorf("--import %s: status %d, %q, want something about %q", path, status, stderr, want)
		}
	}
}

func TestMountOverTLSWithOurOwnAuthority(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "a user's own")
	server, url := serveSeeded(t, "--tls-self-signed", certs)
	_, next, _ := strings.Cut(server.until("--tls-ca "), "next: ")
	said, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\n' "+next).Output()
	trust := filepath.Join(certs, "ca.pem")
	if want := strings.Join([]string{"acrfs", "mount", url, "DIRECTORY", "--tls-ca", trust}, "\n") + "\n"; err != nil || string(said) != want {
		t.Errorf("to a shell, %q is %q, %v; want %q", next, said, err, want)
	}

	p, dir, _ := mountFor(t, url, "--tls-ca", trust)
	tags(t, dir)
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	if _, stderr, status := runMount(t, mountCommand(t, url, dir)); status != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--tls-ca") {
		t.Errorf("by someone who does not trust it: status %d, %q, want a line about --tls-ca", status, stderr)
	}
}
