package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// layoutWith is an OCI image layout with one artifact of one file.
func layoutWith(t *testing.T, name string, content []byte) string {
	t.Helper()
	layout := filepath.Join(t.TempDir(), name)
	blob := func(content []byte) (digest string, size int) {
		t.Helper()
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		if err := os.WriteFile(filepath.Join(layout, "blobs", "sha256", sum), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "sha256:" + sum, len(content)
	}
	if err := os.MkdirAll(filepath.Join(layout, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	config, configSize := blob([]byte("{}"))
	layer, layerSize := blob(content)
	manifest, size := blob(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[`+
		`{"mediaType":"application/octet-stream","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.title":"file"}}]}`, config, configSize, layer, layerSize))
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`, manifest, size)
	for name, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": index} {
		if err := os.WriteFile(filepath.Join(layout, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return layout
}

// A file that is open for longer than any token lives is read to its end, and
// what is changed meanwhile is changed. Entra tokens, refresh tokens and access
// tokens all live for two seconds here.
func TestOneOpenFileOutlivesThreeGenerationsOfEveryToken(t *testing.T) {
	requireMount(t)
	t.Parallel()
	content := make([]byte, 12<<20)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(content)
	rig := serveEntra(t, "--token-life", "2s", "--direct-blobs", "--bandwidth", "256KiB", "--import", layoutWith(t, "large", content))
	rig.mu.Lock()
	rig.life = 2 * time.Second
	rig.mu.Unlock()

	dir, audit := t.TempDir(), filepath.Join(t.TempDir(), "audit")
	cmd := mountCommand(t, rig.url, dir, "--auth", "environment", "--tls-ca", rig.trust, "--log-level", "debug", "--writable", "--audit-log", audit)
	cmd.Env = append(cmd.Env, "AZURE_AUTHORITY_HOST="+rig.URL+"/", "AZURE_TENANT_ID="+tenantID, "AZURE_CLIENT_ID="+applicationID, "AZURE_CLIENT_SECRET="+clientSecret)
	p := start(t, cmd)
	p.until("mounted ")
	file, err := os.Open(filepath.Join(dir, "large", "_tags", "v1", "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()

	// logins counts, in the registry's own log, what has been exchanged since.
	logins := func(path string) int {
		return strings.Count(rig.registry.stderr.String(), "path="+path+" ")
	}
	all := tags(t, dir)
	doomed := slices.DeleteFunc(slices.Clone(all), func(tag string) bool { return tag == "v1" }) // it is locked
	deleted := 0
	sum, began, first := sha256.New(), time.Now(), rig.generation()
	for piece := int64(0); ; piece++ {
		n, err := io.Copy(sum, io.NewSectionReader(file, piece<<20, 1<<20))
		if err != nil {
			t.Fatalf("at %d MiB, after %v: %v", piece, time.Since(began), err)
		}
		if n == 0 {
			break
		}
		if deleted < 3 && time.Since(began) > time.Duration(deleted+1)*2500*time.Millisecond {
			if err := os.RemoveAll(filepath.Join(dir, "library", "hello-world", "_tags", doomed[deleted])); err != nil {
				t.Errorf("delete %s: %v", doomed[deleted], err)
			}
			deleted++
		}
		// The reader is slow by nature: this is what the test is about.
		time.Sleep(700 * time.Millisecond)
	}
	if want := sha256.Sum256(content); string(sum.Sum(nil)) != string(want[:]) {
		t.Error("the file was read wrong")
	}
	if len(tags(t, dir)) != len(all)-deleted || deleted < 3 {
		t.Errorf("%d tags were deleted, %d are left of %d", deleted, len(tags(t, dir)), len(all))
	}
	entra, refresh, access := rig.generation()-first, logins("/oauth2/exchange"), logins("/oauth2/token")
	t.Logf("%v: %d tokens of Entra, %d refresh tokens, %d access tokens", time.Since(began).Round(time.Millisecond), entra, refresh, access)
	if entra < 3 || refresh < 4 || access < 4 {
		t.Errorf("got %d more Entra tokens, %d refresh tokens and %d access tokens; want three generations of each", entra, refresh, access)
	}
	file.Close()
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}
	written, err := os.ReadFile(audit)
	if err != nil || len(written) == 0 {
		t.Errorf("no audit log: %v", err)
	}
	secretsIn(t, "the audit log", string(written))
	secretsIn(t, "stderr", p.stderr.String())
}

// generation is how many tokens the authority has given.
func (a *entraServer) generation() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued
}

// Without the registry, what is cached is served from a mount that was started
// without it, too.
func TestMountStartedWithoutTheRegistryServesWhatIsCached(t *testing.T) {
	requireMount(t)
	t.Parallel()
	registry, url := serveSeeded(t, "--import", layoutWith(t, "large", []byte("cached content")))
	dir, cacheDir := t.TempDir(), t.TempDir()
	p := start(t, mountCommand(t, url, dir, "--cache-dir", cacheDir))
	p.until("mounted ")
	if _, err := os.ReadFile(filepath.Join(dir, "large", "_tags", "v1", "file")); err != nil {
		t.Fatal(err)
	}
	manifests, err := os.ReadDir(filepath.Join(dir, "large", "_manifests"))
	if err != nil || len(manifests) != 1 {
		t.Fatalf("got %v, %v", manifests, err)
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Fatalf("exit status %d", status)
	}
	registry.stop(syscall.SIGTERM)

	p = start(t, mountCommand(t, url, t.TempDir(), "--cache-dir", cacheDir))
	if status := p.status(); status != exitFailed || !strings.Contains(p.stderr.String(), "no answer") {
		t.Errorf("without the flag: status %d, %s", status, p.stderr)
	}
	dir = t.TempDir()
	p = start(t, mountCommand(t, url, dir, "--cache-dir", cacheDir, "--allow-unauthenticated-start"))
	if line := p.until("mounted "); !strings.Contains(line, "anonymous") {
		t.Errorf("start line %q", line)
	}
	got, err := os.ReadFile(filepath.Join(dir, "large", "_manifests", manifests[0].Name(), "file"))
	if err != nil || string(got) != "cached content" {
		t.Errorf("got %q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err == nil {
		t.Errorf("a listing that cannot be had is no error: %v", entries)
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}
}
