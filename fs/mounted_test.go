package fs

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/registry"
	"github.com/acrfs/acrfs/registry/localacr"
)

// world is a local registry with the sample artifacts, mounted.
type world struct {
	t      *testing.T
	server *localacr.Server
	client *registry.Client
	url    string
	dir    string
	log    *lockedBuffer
	m      *Mounted
	stop   func() // ends the registry
}

// lockedBuffer is a log that a test reads while the mount writes it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// mounted starts a world. Zero values of cfg mean what they mean to Mount.
func mounted(t *testing.T, cfg Config) *world {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no /dev/fuse")
		}
		t.Skip("no /dev/fuse")
	}
	w := &world{t: t, log: &lockedBuffer{}, dir: t.TempDir()}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server, err := localacr.Open(localacr.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := server.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	w.stop = web.Close
	w.server, w.url = server, web.URL
	w.client, err = registry.New(registry.Config{Endpoint: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	cfg.Registry, cfg.Cache, cfg.Logger = w.client, newStore(t), logger
	m, err := Mount(w.dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
			m.UnmountLazily()
		}
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	return w
}

// newStore is a cache of a test's own.
func newStore(t *testing.T) *cache.Cache {
	t.Helper()
	store, err := cache.Open(cache.Config{Dir: t.TempDir(), Size: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// path is below the mount.
func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// sh runs a script with the mount as $M and library/hello-world as $R and
// returns what it printed, both streams.
func (w *world) sh(script string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Env = append(os.Environ(), "M="+w.dir, "R="+w.path("library/hello-world"), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run is sh for a script that must succeed.
func (w *world) run(script string) string {
	w.t.Helper()
	out, err := w.sh(script)
	if err != nil {
		w.t.Fatalf("%s\n%s\n%v", script, out, err)
	}
	return out
}

// fails is sh for a script that must fail with these words.
func (w *world) fails(script, words string) {
	w.t.Helper()
	out, err := w.sh(script)
	if err == nil || !strings.Contains(out, words) {
		w.t.Errorf("%s\ngot %q (%v), want a failure with %q", script, out, err, words)
	}
}

// tags asks the registry itself.
func (w *world) tags(repo string) []string {
	w.t.Helper()
	var names []string
	for tag, err := range w.client.Tags(w.t.Context(), repo, registry.ListOptions{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, tag.Name)
	}
	return names
}

// manifests asks the registry itself.
func (w *world) manifests(repo string) map[string]registry.Properties {
	w.t.Helper()
	all := make(map[string]registry.Properties)
	for p, err := range w.client.Manifests(w.t.Context(), repo, registry.ListOptions{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all[p.Digest.String()] = p
	}
	return all
}

// requests counts the requests that the server has had with a method.
func (w *world) requests(method string) (n int64) {
	for op, count := range w.server.Stats().Requests {
		if op.Method == method {
			n += count
		}
	}
	return n
}

// push puts a manifest by plain HTTP, as any client does.
func (w *world) push(repo, tag, mediaType string, raw []byte) {
	w.t.Helper()
	host := strings.TrimPrefix(w.url, "http://")
	answer, err := http.PostForm(w.url+"/oauth2/token", url.Values{
		"grant_type": {"password"}, "service": {host}, "scope": {"repository:" + repo + ":pull,push"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil {
		w.t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(w.t.Context(), http.MethodPut, w.url+"/v2/"+repo+"/manifests/"+tag, bytes.NewReader(raw))
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		w.t.Fatalf("push: %s", resp.Status)
	}
}
