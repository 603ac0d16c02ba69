package localacr_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// slack is what may come on top of the limit: net/http lingers a little when it
// ends a connection.
const slack = 10 * time.Second

// A client that stops sending in the middle of a body is cut off, whatever the
// body is for and whether or not somebody reads it.
func TestClientThatStopsSendingIsCutOff(t *testing.T) {
	for _, bandwidth := range []int64{0, 1 << 20} {
		bubble(t, localacr.Config{Bandwidth: bandwidth}, func(r *rig, dial func() net.Conn) {
			r.pushImage("a", "v1", "1")
			upload := r.begin("a")
			for name, request := range map[string]string{
				"manifest":          "PUT /v2/a/manifests/v2",
				"chunk":             "PATCH " + upload,
				"login":             "POST /oauth2/token",
				"attributes":        "PATCH /acr/v1/a",
				"nobody reads it":   "GET /acr/v1/a",
				"no such path":      "POST /no/such/path",
				"nobody logged in":  "PUT /v2/b/manifests/v1",
				"answered by a 405": "PUT /v2/",
			} {
				conn := dial()
				begin := time.Now()
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nhalf",
					request, r.host, r.token("repository:a:*"))
				conn.SetReadDeadline(begin.Add(time.Hour))
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Errorf("%s at %d bytes a second: after an hour: %v", name, bandwidth, err)
				} else if took := time.Since(begin); took < localacr.StallLimit || took > localacr.StallLimit+slack {
					t.Errorf("%s at %d bytes a second: cut off after %v, want %v", name, bandwidth, took, localacr.StallLimit)
				}
				conn.Close()
			}
		})
	}
}

// A client that stops reading is cut off, whatever it asked for.
func TestClientThatStopsReadingIsCutOff(t *testing.T) {
	for _, bandwidth := range []int64{0, 1 << 20} {
		bubble(t, localacr.Config{Bandwidth: bandwidth, DirectBlobs: true}, func(r *rig, dial func() net.Conn) {
			d := r.pushBlob("a", make([]byte, 100_000))
			r.pushManifest("a", "v1", typeManifest, r.image("a", typeManifest, "1", fmt.Sprintf(`,"annotations":{"x":%q}`, strings.Repeat("x", 100_000))))
			for _, path := range []string{"/v2/a/blobs/" + d, "/v2/a/manifests/v1", "/acr/v1/a/_tags", "/no/such/path"} {
				conn := dial()
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, r.host, typeManifest, r.token("repository:a:*"))
				time.Sleep(localacr.StallLimit + slack)
				conn.SetReadDeadline(time.Now().Add(time.Hour))
				if n, err := io.Copy(io.Discard, conn); n > 0 || err != nil {
					t.Errorf("%s at %d bytes a second: still there after %v: %d bytes more, %v", path, bandwidth, localacr.StallLimit, n, err)
				}
				conn.Close()
			}
		})
	}
}

// Bodies have no total limit: a client that is slow, and not silent, gets and
// sends all of one.
func TestSlowClientIsNotCutOff(t *testing.T) {
	const size, each = 24 << 20, 10 << 10 // bytes, and those of a second
	bubble(t, localacr.Config{DirectBlobs: true}, func(r *rig, dial func() net.Conn) {
		content := make([]byte, size)
		d := localacr.DigestOf("", content)
		begin := time.Now()
		for _, request := range []string{"POST /v2/a/blobs/uploads/?digest=" + d, "GET /v2/a/blobs/" + d} {
			method, path, _ := strings.Cut(request, " ")
			var body io.Reader
			if method == "POST" {
				body = slowly{bytes.NewReader(content), each}
			}
			req, err := http.NewRequest(method, r.url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+r.token("repository:a:*"))
			res, err := r.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, slowly{res.Body, each})
			res.Body.Close()
			if err != nil || res.StatusCode > 201 || method == "GET" && n != size {
				t.Errorf("%s: %s, %d bytes, %v", request, res.Status, n, err)
			}
			if took := time.Since(begin); took < 2*localacr.StallLimit {
				t.Fatalf("%s took %v, too little to show anything", request, took)
			}
		}
	})
}

// slowly reads so many bytes a second.
type slowly struct {
	io.Reader
	each int
}

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p[:min(len(p), s.each)])
}
