package localacr_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

const (
	typeManifest       = "application/vnd.oci.image.manifest.v1+json"
	typeIndex          = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeSchema1        = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	acceptAll          = typeManifest + "," + typeIndex + "," + typeDockerManifest + "," + typeDockerList
)

// fresh is a data directory with nothing but its keys: making those is most
// of what it takes to open a registry.
var fresh = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "localacr-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := localacr.Open(localacr.Config{Root: dir})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "registry.db"))
})

// freshRoot makes a data directory.
func freshRoot(t testing.TB) string {
	t.Helper()
	db, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "registry.db"), db, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rig is a registry under test and a client that knows nothing but HTTP.
type rig struct {
	testing.TB
	*localacr.Server
	url  string
	host string
	dir  string
	http *http.Client

	mu     sync.Mutex // guards tokens
	tokens map[string]string
}

// start serves a registry over loopback until the test ends.
func start(t testing.TB, cfg localacr.Config) *rig {
	t.Helper()
	if cfg.Root == "" {
		cfg.Root = freshRoot(t)
	}
	s, err := localacr.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	r.dir = cfg.Root
	return r
}

// root is the data directory.
func (r *rig) root() string { return r.dir }

func serve(t testing.TB, s *localacr.Server) *rig {
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		server.CloseClientConnections()
		server.Close()
	})
	r := &rig{TB: t, Server: s, url: server.URL, host: strings.TrimPrefix(server.URL, "http://"), tokens: map[string]string{}}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	r.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return r
}

// reply is an answer, read to its end.
type reply struct {
	testing.TB
	request string
	status  int
	header  http.Header
	body    string
	err     error // of reading the body
}

// raw sends a request as it is. Headers are given as "Name: value".
func (r *rig) raw(method, target, body string, headers ...string) reply {
	r.Helper()
	if strings.HasPrefix(target, "/") {
		target = r.url + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := r.http.Do(req)
	if err != nil {
		return reply{TB: r.TB, request: method + " " + target, err: err}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return reply{r.TB, method + " " + target, res.StatusCode, res.Header, string(data), err}
}

var challengeParam = regexp.MustCompile(`(\w+)="([^"]*)"`)

// do sends a request and answers a challenge once, as clients do.
func (r *rig) do(method, target, body string, headers ...string) reply {
	r.Helper()
	got := r.raw(method, target, "", append(headers, "X-Probe: challenge")...)
	if got.status != http.StatusUnauthorized {
		if body == "" || got.status == 0 {
			return got
		}
	}
	params := map[string]string{}
	for _, m := range challengeParam.FindAllStringSubmatch(got.header.Get("WWW-Authenticate"), -1) {
		params[m[1]] = m[2]
	}
	return r.raw(method, target, body, append(headers, "Authorization: Bearer "+r.token(params["scope"]))...)
}

// token logs in anonymously.
func (r *rig) token(scope string) string {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if token := r.tokens[scope]; token != "" {
		return token
	}
	got := r.raw("POST", "/oauth2/token", url.Values{"grant_type": {"password"}, "service": {r.host}, "scope": {scope}}.Encode(),
		"Content-Type: application/x-www-form-urlencoded")
	var doc struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || doc.AccessToken == "" {
		r.Fatalf("login for %q: %d %q", scope, got.status, got.body)
	}
	r.tokens[scope] = doc.AccessToken
	return doc.AccessToken
}

// want checks the status and returns the reply.
func (got reply) want(status int) reply {
	got.Helper()
	if got.status != status {
		got.Fatalf("%s: got %d %q (%v), want %d", got.request, got.status, got.body, got.err, status)
	}
	return got
}

// says checks status and body, byte for byte.
func (got reply) says(status int, body string) reply {
	got.Helper()
	got.want(status)
	if got.body != body {
		got.Fatalf("%s:\n got %q\nwant %q", got.request, got.body, body)
	}
	return got
}

// has checks headers, given as "Name: value".
func (got reply) has(headers ...string) reply {
	got.Helper()
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if v := strings.Join(got.header.Values(name), " | "); v != value {
			got.Errorf("%s: header %s is %q, want %q", got.request, name, v, value)
		}
	}
	return got
}

// pushBlob uploads a blob the usual way and returns its digest.
func (r *rig) pushBlob(repo string, data []byte) string {
	r.Helper()
	digest := localacr.DigestOf("", data)
	at := r.auth("POST", repo, "/v2/"+repo+"/blobs/uploads/", "").want(202).header.Get("Location")
	at = r.auth("PATCH", repo, at, string(data)).want(202).header.Get("Location")
	r.auth("PUT", repo, at+"&digest="+url.QueryEscape(digest), "").want(201)
	return digest
}

// auth sends a request with a token for everything in the repository.
func (r *rig) auth(method, repo, target, body string, headers ...string) reply {
	r.Helper()
	return r.raw(method, target, body, append(headers, "Authorization: Bearer "+r.token("repository:"+repo+":*"))...)
}

// pushManifest uploads a manifest and returns its digest.
func (r *rig) pushManifest(repo, ref, mediaType, manifest string) string {
	r.Helper()
	got := r.auth("PUT", repo, "/v2/"+repo+"/manifests/"+ref, manifest, "Content-Type: "+mediaType).want(201)
	return got.header.Get("Docker-Content-Digest")
}

// pushImage uploads an image whose one layer is seed, and returns the
// manifest's digest.
func (r *rig) pushImage(repo, ref, seed string) string {
	r.Helper()
	return r.pushManifest(repo, ref, typeManifest, r.image(repo, typeManifest, seed))
}

// image uploads an image's blobs and returns its manifest.
func (r *rig) image(repo, mediaType, seed string, more ...string) string {
	r.Helper()
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	configType, layerType := "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
	if mediaType == typeDockerManifest {
		configType, layerType = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]%s}`,
		mediaType, configType, r.pushBlob(repo, []byte(config)), len(config), layerType, r.pushBlob(repo, []byte(seed)), len(seed), strings.Join(more, ""))
}

// index returns an index of children.
func index(mediaType string, children ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, mediaType)
	for i, child := range children {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(child)
	}
	b.WriteString("]}")
	return b.String()
}

// child describes a manifest in an index.
func child(mediaType, digest string, size int, arch string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":%q,"os":"linux"}}`, mediaType, digest, size, arch)
}

// checked fails the test if the registry's indexes and counters are off.
func (r *rig) checked() {
	r.Helper()
	if err := r.Check(); err != nil {
		r.Error(err)
	}
}
