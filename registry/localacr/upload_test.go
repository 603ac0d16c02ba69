package localacr_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// begin opens an upload session and returns its address.
func (r *rig) begin(repo string) string {
	r.Helper()
	return r.auth("POST", repo, "/v2/"+repo+"/blobs/uploads/", "").want(202).header.Get("Location")
}

// 1.8: every step of an upload in chunks, literally.
func TestUploadInChunks(t *testing.T) {
	r := start(t, localacr.Config{})
	got := r.auth("POST", "a/b", "/v2/a%2Fb/blobs/uploads/", "").says(202, "").has("Range: 0-0", "Content-Length: 0")
	at, id := got.header.Get("Location"), got.header.Get("Docker-Upload-Uuid")
	if !strings.HasPrefix(at, "/v2/a/b/blobs/uploads/"+id+"?_nouploadcache=false&_state=") || strings.Contains(at, "==") {
		t.Fatalf("location %q", at)
	}
	r.auth("GET", "a/b", at, "").says(204, "").has("Range: 0-0", "Docker-Upload-Uuid: "+id)

	const wrong = `{"errors":[{"code":"BLOB_UPLOAD_RANGE_INVALID","message":"blob upload range invalid","detail":{"Range":"-1--1","Reason":"the Content-Range header format is invalid"}}]}` + "\n"
	for _, bad := range []string{"bytes 0-4/5", "0-", "x-4", "4-0", "-1--1"} {
		r.auth("PATCH", "a/b", at, "hello", "Content-Range: "+bad).says(416, wrong)
	}
	r.auth("PATCH", "a/b", at, "hello", "Content-Range: 1-5").want(416)
	r.auth("PATCH", "a/b", at, "hello", "Content-Range: 0-5").want(416)

	// The session survived all of that.
	got = r.auth("PATCH", "a/b", at, "hello", "Content-Range: 0-4", "Content-Type: application/octet-stream").says(202, "").has("Range: 0-4", "Docker-Upload-Uuid: "+id)
	second := got.header.Get("Location")
	if second == at {
		t.Error("the address did not change with the state")
	}
	// The address of a step that was done is good for nothing any more.
	r.auth("PATCH", "a/b", at, "hello").says(404, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}`+"\n")
	r.auth("GET", "a/b", second, "").want(204).has("Range: 0-4")
	got = r.auth("PATCH", "a/b", second, " world", "Content-Range: 5-10").want(202).has("Range: 0-10")
	d := localacr.DigestOf("", []byte("hello world!"))
	// The last chunk may go with the end, and has to fit as all others do.
	for _, bad := range []string{"0-0", "12-12", "11-12"} {
		r.auth("PUT", "a/b", got.header.Get("Location")+"&digest="+d, "!", "Content-Range: "+bad).want(416)
	}
	r.auth("GET", "a/b", got.header.Get("Location"), "").want(204).has("Range: 0-10")
	r.auth("PUT", "a/b", got.header.Get("Location")+"&digest=nonsense", "!").
		says(400, `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content","detail":"digest parsing failed"}]}`+"\n")
	r.auth("PUT", "a/b", got.header.Get("Location")+"&digest="+url.QueryEscape(d), "!", "Content-Range: 11-11").says(201, "").
		has("Location: /v2/a/b/blobs/"+d, "Docker-Content-Digest: "+d)
	r.auth("PUT", "a/b", got.header.Get("Location")+"&digest="+url.QueryEscape(d), "!").
		says(404, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry","detail":{}}]}`+"\n")
	r.auth("HEAD", "a/b", "/v2/a/b/blobs/"+d, "").says(200, "").has("Content-Length: 12", "Content-Type: application/octet-stream", "Docker-Content-Digest: "+d)
	r.auth("HEAD", "a/c", "/v2/a/c/blobs/"+d, "").want(404)
}

func TestUploadThatEndsWrong(t *testing.T) {
	r := start(t, localacr.Config{})
	at := r.begin("a")
	at = r.auth("PATCH", "a", at, "hello").want(202).header.Get("Location")
	r.auth("PUT", "a", at+"&digest="+zeros, "").want(400)
	r.auth("HEAD", "a", "/v2/a/blobs/"+zeros, "").want(404)
	r.auth("GET", "a", at, "").want(404)

	// A cancelled session is unknown.
	at = r.begin("a")
	r.auth("DELETE", "a", at, "").says(204, "")
	if got := r.auth("GET", "a", at, "").want(404); !strings.Contains(got.body, "BLOB_UPLOAD_UNKNOWN") {
		t.Error(got.body)
	}
	// A session belongs to its repository, and its state is signed.
	at = r.begin("a")
	r.auth("PATCH", "b", strings.Replace(at, "/v2/a/", "/v2/b/", 1), "x").want(404)
	r.auth("PATCH", "a", strings.Replace(at, "_state=", "_state=A", 1), "x").want(404)
	i := strings.Index(at, "_state=") + 40
	r.auth("PATCH", "a", at[:i]+"A"+at[i+1:], "x").want(404)
	r.auth("PATCH", "a", at[:strings.Index(at, "&_state=")], "x").want(404)
	r.auth("PATCH", "a", at, "x").want(202)
}

func TestMonolithicUploadAndEmptyBlob(t *testing.T) {
	r := start(t, localacr.Config{})
	for _, data := range []string{"all at once", ""} {
		d := localacr.DigestOf("", []byte(data))
		r.auth("POST", "a", "/v2/a/blobs/uploads/?digest="+d, data).says(201, "").has("Location: /v2/a/blobs/"+d, "Docker-Content-Digest: "+d)
		r.auth("HEAD", "a", "/v2/a/blobs/"+d, "").want(200).has(fmt.Sprintf("Content-Length: %d", len(data)))
	}
	r.auth("POST", "a", "/v2/a/blobs/uploads/?digest="+zeros, "other").want(400)
	left, err := os.ReadDir(filepath.Join(r.root(), "uploads"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d uploads left over (%v)", len(left), err)
	}
}

func TestSHA512Blob(t *testing.T) {
	r := start(t, localacr.Config{})
	sum := sha512.Sum512([]byte("hello"))
	d := "sha512:" + hex.EncodeToString(sum[:])
	at := r.auth("PATCH", "a", r.begin("a"), "hello").want(202).header.Get("Location")
	r.auth("PUT", "a", at+"&digest="+d, "").want(201).has("Docker-Content-Digest: " + d)
	if got := r.fetch("a", d); got.body != "hello" {
		t.Errorf("got %q", got.body)
	}
}

// 1.8: mount.
func TestMountBlobOfAnotherRepository(t *testing.T) {
	r := start(t, localacr.Config{})
	d := r.pushBlob("from/here", []byte("shared"))
	r.do("POST", "/v2/to/there/blobs/uploads/?mount="+d+"&from=from/here", "").says(201, "").
		has("Location: /v2/to/there/blobs/"+d, "Docker-Content-Digest: "+d)
	r.auth("HEAD", "to/there", "/v2/to/there/blobs/"+d, "").want(200)
	for _, query := range []string{"mount=" + zeros + "&from=from/here", "mount=" + d + "&from=no/where", "mount=" + d} {
		r.do("POST", "/v2/to/else/blobs/uploads/?"+query, "").want(202).has("Range: 0-0")
		r.auth("HEAD", "to/else", "/v2/to/else/blobs/"+d, "").want(404)
	}
	// What is mounted stays when the source goes.
	r.auth("DELETE", "from/here", "/v2/from/here/blobs/"+d, "").says(202, "")
	r.auth("HEAD", "from/here", "/v2/from/here/blobs/"+d, "").want(404)
	if got := r.fetch("to/there", d); got.body != "shared" {
		t.Errorf("got %q", got.body)
	}
	r.checked()
}

func TestManyUploadsAtOnce(t *testing.T) {
	r := start(t, localacr.Config{})
	r.token("repository:many:*")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			// Every fourth one is the same blob.
			r.pushBlob("many", bytes.Repeat([]byte{byte(i / 4 * 4)}, 10_000))
		})
	}
	wg.Wait()
	for i := range 50 {
		d := localacr.DigestOf("", bytes.Repeat([]byte{byte(i * 4)}, 10_000))
		r.auth("HEAD", "many", "/v2/many/blobs/"+d, "").want(200)
	}
	r.checked()
}

// Sessions are on disk, and so are the keys that sign their state, tokens and
// the URLs of blobs.
func TestUploadsTokensAndURLsOutliveARestart(t *testing.T) {
	root := freshRoot(t)
	s, err := localacr.Open(localacr.Config{Root: root, Name: "same"})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	r.host = "same"
	at := r.auth("PATCH", "a", r.begin("a"), "first ").want(202).header.Get("Location")
	stored, err := url.Parse(r.auth("GET", "a", "/v2/a/blobs/"+r.pushBlob("a", []byte("whole")), "").want(307).header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, localacr.Config{Root: root, Name: "same"})
	again.host, again.tokens = "same", r.tokens
	again.raw("GET", stored.RequestURI(), "").says(200, "whole")
	at = again.auth("PATCH", "a", at, "second").want(202).has("Range: 0-11").header.Get("Location")
	d := localacr.DigestOf("", []byte("first second"))
	again.auth("PUT", "a", at+"&digest="+d, "").want(201)
}

// A body that ends early leaves a session that is no use, as on ACR.
func TestBrokenChunkDamagesSession(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	at := r.begin("a")
	hits := faults.Add(localacr.Fault{Endpoint: localacr.EndpointUpload, Method: "PATCH", Count: 1, Effect: localacr.Effect{ResetUpload: 1000}})
	if got := r.auth("PATCH", "a", at, strings.Repeat("x", 100_000)); got.err == nil || hits() != 1 {
		t.Fatalf("the connection was not dropped: %d, %d hits", got.status, hits())
	}
	r.auth("PATCH", "a", at, strings.Repeat("x", 100_000)).
		says(404, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}`+"\n")
	r.pushBlob("a", bytes.Repeat([]byte("x"), 100_000))
}

// A session that a broken chunk put beyond use can still be cancelled, by whom
// it belongs to, and leaves nothing behind.
func TestSessionThatIsBeyondUseCanBeCancelled(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	at := r.begin("a")
	faults.Add(localacr.Fault{Endpoint: localacr.EndpointUpload, Method: "PATCH", Count: 1, Effect: localacr.Effect{ResetUpload: 1000}})
	r.auth("PATCH", "a", at, strings.Repeat("x", 100_000))
	for _, method := range []string{"GET", "PUT"} {
		r.auth(method, "a", at+"&digest="+zeros, "").says(404, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}`+"\n")
	}
	r.auth("DELETE", "b", strings.Replace(at, "/v2/a/", "/v2/b/", 1), "").want(404)
	r.auth("DELETE", "a", at, "").says(204, "")
	r.auth("DELETE", "a", at, "").says(404, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry","detail":{}}]}`+"\n")
	if left, err := os.ReadDir(filepath.Join(r.root(), "uploads")); err != nil || len(left) > 0 {
		t.Errorf("%d uploads left over (%v)", len(left), err)
	}
}

// 1.8: a chunk without a Content-Length that is not as long as its
// Content-Range says is refused, and the session survives.
func TestChunkThatIsNotAsLongAsItsRange(t *testing.T) {
	r := start(t, localacr.Config{})
	at := r.auth("PATCH", "a", r.begin("a"), "hello").want(202).header.Get("Location")
	for _, body := range []string{" wo", " world and more", ""} {
		req, err := http.NewRequest("PATCH", r.url+at, struct{ io.Reader }{strings.NewReader(body)}) // chunked
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token("repository:a:*"))
		req.Header.Set("Content-Range", "5-10")
		res, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 416 || !strings.Contains(string(answer), "BLOB_UPLOAD_RANGE_INVALID") {
			t.Errorf("%q: %s %s (%v)", body, res.Status, answer, err)
		}
	}
	r.auth("GET", "a", at, "").want(204).has("Range: 0-4")
	at = r.auth("PATCH", "a", at, " world", "Content-Range: 5-10").want(202).header.Get("Location")
	r.auth("PUT", "a", at+"&digest="+localacr.DigestOf("", []byte("hello world")), "").want(201)
}

// A client that announces more than it sends has uploaded nothing. It is not
// the registry that failed, and its log does not say so.
func TestShortBodyIsNoBlob(t *testing.T) {
	var log syncBuffer
	r := start(t, localacr.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	d := localacr.DigestOf("", []byte("hel"))
	for _, request := range []string{"PUT " + r.begin("a") + "&digest=" + d, "PATCH " + r.begin("a"), "PUT /v2/a/manifests/v1"} {
		conn, err := net.Dial("tcp", r.host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 5\r\n\r\nhel",
			request, r.host, r.token("repository:a:*"))
		conn.(*net.TCPConn).CloseWrite()
		if answer, err := io.ReadAll(conn); strings.HasPrefix(string(answer), "HTTP/1.1 20") {
			t.Errorf("%s (%v)", answer, err)
		}
		conn.Close()
	}
	r.auth("HEAD", "a", "/v2/a/blobs/"+d, "").want(404)
	if err := r.Close(); err != nil { // waits for requests
		t.Fatal(err)
	}
	if n := r.Stats().Statuses[499]; n != 3 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("%d requests ended by their client, want 3; log:\n%s", n, log.String())
	}
}

// syncBuffer is a log that is written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
