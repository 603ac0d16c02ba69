package localacr_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

func TestHostsThatAreNone(t *testing.T) {
	for host, want := range map[string]bool{
		"registry.example": true, "registry.example:443": true, "127.0.0.1:5000": true, "[::1]:5000": true, "[::1]": true, "same": true,
		"https://registry.example": false, "a/b": false, "me@host": false, "a b": false, `a"b`: false, ":5000": false, "host:port": false, "::1": false, "a\n": false,
	} {
		if got := localacr.ValidHost(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
		for _, cfg := range []localacr.Config{{Name: host}, {StorageHost: host}} {
			if want {
				continue
			}
			cfg.Root = t.TempDir()
			if s, err := localacr.Open(cfg); err == nil {
				s.Close()
				t.Errorf("%q was accepted", host)
			}
		}
	}
}

// fetch reads a blob as a client does that follows redirects without its token.
func (r *rig) fetch(repo, digest string, headers ...string) reply {
	r.Helper()
	got := r.auth("GET", repo, "/v2/"+repo+"/blobs/"+digest, "", headers...)
	if got.status != 307 {
		return got
	}
	return r.raw("GET", got.header.Get("Location"), "", headers...)
}

// 1.7: the redirect, and storage's ways.
func TestBlobByRedirect(t *testing.T) {
	r := start(t, localacr.Config{})
	d := r.pushBlob("team/app", []byte("0123456789"))
	got := r.auth("GET", "team/app", "/v2/team%2Fapp/blobs/"+strings.Replace(d, ":", "%3A", 1), "", "Range: bytes=2-3").want(307).
		has("Content-Type: text/html; charset=utf-8", "Docker-Content-Digest: "+d)
	at, err := url.Parse(got.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(r.host, ":")
	if at.Host != "localhost:"+port {
		t.Errorf("storage is at %s, called as %s", at.Host, r.host)
	}
	if !strings.Contains(at.Path, "//docker/registry/v2/blobs/sha256/"+d[7:9]+"/"+d[7:]+"/data") {
		t.Errorf("path %s", at.Path)
	}
	for _, name := range []string{"se", "sig", "sp", "spr", "sr", "sv", "regid"} {
		if at.Query().Get(name) == "" {
			t.Errorf("the signed URL has no %s", name)
		}
	}
	expiry, err := time.Parse(time.RFC3339, at.Query().Get("se"))
	if left := time.Until(expiry); err != nil || left > 20*time.Minute || left < 19*time.Minute {
		t.Errorf("expires in %v (%v)", left, err)
	}
	if want := `<a href="` + strings.ReplaceAll(at.String(), "&", "&amp;") + `">Temporary Redirect</a>.` + "\n\n"; got.body != want {
		t.Errorf("body\n got %q\nwant %q", got.body, want)
	}
	r.raw("GET", at.String(), "").says(200, "0123456789").has("Accept-Ranges: bytes", "X-Ms-Blob-Type: AppendBlob", "Docker-Content-Digest: ", "Content-Length: 10")
	r.raw("GET", at.String(), "", "Range: bytes=2-3").says(206, "23").has("Content-Range: bytes 2-3/10")
	r.raw("GET", at.String(), "", "Range: bytes=8-999").says(206, "89").has("Content-Range: bytes 8-9/10")
	r.raw("GET", at.String(), "", "Range: bytes=4-").says(206, "456789").has("Content-Range: bytes 4-9/10")
	r.raw("GET", at.String(), "", "Range: 4-").says(200, "0123456789")
	r.raw("GET", at.String(), "", "Range: bytes=-4").says(200, "0123456789")
	got = r.raw("GET", at.String(), "", "Range: bytes=10-").want(416).has("Content-Range: bytes */10", "Content-Type: application/xml")
	if !strings.Contains(got.body, "<Code>InvalidRange</Code>") {
		t.Error(got.body)
	}

	// The token has no business here.
	got = r.raw("GET", at.String(), "", "Authorization: Bearer "+r.token("repository:team/app:*")).want(400)
	if !strings.Contains(got.body, "<Code>InvalidAuthenticationInfo</Code>") {
		t.Error(got.body)
	}
	// Nobody else can make such a URL, or make it last longer.
	for name, query := range map[string]string{
		"later":       strings.Replace(at.RawQuery, url.QueryEscape(at.Query().Get("se")), url.QueryEscape(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)), 1),
		"other sig":   strings.Replace(at.RawQuery, "sig=", "sig=A", 1),
		"no sig":      "se=" + at.Query().Get("se"),
		"empty query": "",
	} {
		bad := *at
		bad.RawQuery = query
		got := r.raw("GET", bad.String(), "")
		if got.status != 403 || !strings.Contains(got.body, "<Code>AuthenticationFailed</Code>") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	// HEAD never redirects and knows no ranges.
	r.auth("HEAD", "team/app", "/v2/team/app/blobs/"+d, "", "Range: bytes=2-3").says(200, "").has("Content-Length: 10", "Content-Range: ")
}

// Whatever name a registry is called by, net/http brings its blobs: it keeps
// the token when the host's name stays the same, and then storage bears that.
// crane follows nobody from a name to a loopback address.
func TestBlobsArriveWhateverTheRegistryIsCalled(t *testing.T) {
	for called, want := range map[string]string{
		"127.0.0.1": "localhost", "localhost": "localhost", "127.0.0.2": "127.0.0.2", "[::1]": "[::1]",
		"registry": "registry", "registry.example": "registry.example", "192.0.2.7": "192.0.2.7",
	} {
		r := start(t, localacr.Config{})
		address := r.host
		_, port, _ := strings.Cut(address, ":")
		r.host, r.url = called+":"+port, "http://"+called+":"+port
		transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		t.Cleanup(transport.CloseIdleConnections)
		r.http.Transport = transport
		d := r.pushBlob("a", []byte("content"))
		got := r.auth("GET", "a", "/v2/a/blobs/"+d, "").want(307)
		if at := got.header.Get("Location"); !strings.HasPrefix(at, "http://"+want+":"+port+"/") {
			t.Errorf("called %s it redirects to %s, want host %s", called, at, want)
		}
		r.http.CheckRedirect = nil // net/http's own ways
		r.auth("GET", "a", "/v2/a/blobs/"+d, "").says(200, "content")
	}
}

// Storage on a host of its own bears no token, whatever that host's name.
func TestStorageHost(t *testing.T) {
	r := start(t, localacr.Config{StorageHost: "storage.example:1234"})
	d := r.pushBlob("a", []byte("x"))
	at := r.auth("GET", "a", "/v2/a/blobs/"+d, "").want(307).header.Get("Location")
	there, ok := strings.CutPrefix(at, "http://storage.example:1234/")
	if !ok {
		t.Fatal(at)
	}
	r.raw("GET", "/"+there, "").says(200, "x")
	r.raw("GET", "/"+there, "", "Authorization: Bearer "+r.token("repository:a:*")).want(400)
}

func TestDirectBlobs(t *testing.T) {
	r := start(t, localacr.Config{DirectBlobs: true})
	d := r.pushBlob("a", []byte("0123456789"))
	r.fetch("a", d).says(200, "0123456789").has("Docker-Content-Digest: "+d, "Accept-Ranges: bytes", "Content-Type: application/octet-stream")
	r.fetch("a", d, "Range: bytes=1-2").says(206, "12").has("Content-Range: bytes 1-2/10")
	r.fetch("a", d, "Range: bytes=-2").says(206, "89").has("Content-Range: bytes 8-9/10")
	r.fetch("a", d, "Range: bytes=10-").want(416).has("Content-Range: bytes */10")
}

// A file that is gone or cut short must not look whole, neither to who asks for
// the blob nor to who mounts it or pushes a manifest of it. Whoever is told that
// the blob is unknown pushes it again, and that mends it.
func TestDamagedFileIsMendedByAPush(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":      os.Remove,
		"cut short": func(path string) error { return os.Truncate(path, 5) },
	} {
		for _, direct := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, direct=%v", name, direct), func(t *testing.T) {
				var log syncBuffer
				r := start(t, localacr.Config{DirectBlobs: direct, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				d := r.pushBlob("a", []byte("0123456789"))
				if err := damage(filepath.Join(r.root(), "blobs", "sha256", d[7:9], d[7:])); err != nil {
					t.Fatal(err)
				}
				r.fetch("a", d).want(404)
				r.auth("HEAD", "a", "/v2/a/blobs/"+d, "").want(404)
				r.do("POST", "/v2/b/blobs/uploads/?mount="+d+"&from=a", "").want(202)
				r.auth("HEAD", "b", "/v2/b/blobs/"+d, "").want(404)
				manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":10},"layers":[]}`, typeManifest, d)
				refused := r.auth("PUT", "a", "/v2/a/manifests/v1", manifest, "Content-Type: "+typeManifest).want(400)
				if !strings.Contains(refused.body, "MANIFEST_BLOB_UNKNOWN") || !strings.Contains(refused.body, d) {
					t.Errorf("the manifest is refused with %s", refused.body)
				}
				if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), d) {
					t.Errorf("the log does not tell of it: %s", log.String())
				}
				r.pushBlob("a", []byte("0123456789"))
				r.pushManifest("a", "v1", typeManifest, manifest)
				r.fetch("a", d).says(200, "0123456789")
			})
		}
	}
}

// Bandwidth is what was asked for, in both directions.
func TestBandwidthAndLatency(t *testing.T) {
	r := start(t, localacr.Config{Bandwidth: 1 << 20, Latency: time.Millisecond})
	data := make([]byte, 200_000)
	begin := time.Now()
	d := r.pushBlob("a", data)
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("uploading 200 kB at 1 MiB/s took %v", took)
	}
	begin = time.Now()
	if got := r.fetch("a", d); len(got.body) != len(data) {
		t.Fatalf("%d bytes, %v", len(got.body), got.err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("downloading 200 kB at 1 MiB/s took %v", took)
	}
}

// The streams of an HTTP/2 connection have one bandwidth between them.
func TestStreamsShareTheirConnectionsBandwidth(t *testing.T) {
	const rate, size, streams = 1 << 20, 64 << 10, 4
	s, err := localacr.Open(localacr.Config{Root: freshRoot(t), Bandwidth: rate, DirectBlobs: true, Name: "same"})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	r.host = "same"
	d := r.pushBlob("a", make([]byte, size))
	token := r.token("repository:a:*")
	web := httptest.NewUnstartedServer(s)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	fetch := func(client *http.Client) error {
		req, err := http.NewRequest("GET", web.URL+"/v2/a/blobs/"+d, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size || res.ProtoMajor != 2 {
			return fmt.Errorf("%s: %d bytes of %d over %s: %v", res.Status, n, size, res.Proto, err)
		}
		return nil
	}
	if err := fetch(web.Client()); err != nil { // so that the connection is there
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	begin := time.Now()
	for range streams {
		wg.Go(func() {
			if err := fetch(web.Client()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took, whole := time.Since(begin), streams*size*time.Second/rate; took < whole*3/4 {
		t.Errorf("%d streams of one connection took %v, at least %v expected", streams, took, whole)
	}
	if err := s.Close(); err != nil { // waits for requests
		t.Fatal(err)
	}
	if n := s.Lanes(); n != 0 {
		t.Errorf("%d connections are remembered without requests", n)
	}
}

func TestStatsCountByEndpoint(t *testing.T) {
	r := start(t, localacr.Config{})
	d := r.pushBlob("a", []byte("hello"))
	r.fetch("a", d)
	r.raw("FROB", "/v2/", "").want(401)
	got := r.Stats()
	for op, want := range map[localacr.Operation]int64{
		{Method: "GET", Endpoint: localacr.EndpointStorage}:  1,
		{Method: "GET", Endpoint: localacr.EndpointBlob}:     1,
		{Method: "PATCH", Endpoint: localacr.EndpointUpload}: 1,
		{Method: "OTHER", Endpoint: localacr.EndpointPing}:   1,
	} {
		if got.Requests[op] != want {
			t.Errorf("%v: %d, want %d (%v)", op, got.Requests[op], want, got.Requests)
		}
	}
	if got.Received != 5 || got.Statuses[307] != 1 {
		t.Error(fmt.Sprint(got))
	}
}
