package localacr_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// What goes beyond the limit of a span is refused until the next one, whoever
// asks for whatever, but for what storage has.
func TestThrottle(t *testing.T) {
	r := start(t, localacr.Config{Throttle: 40, ThrottleSpan: time.Hour})
	const content = "some content"
	blob := r.pushBlob("a", []byte(content))
	signed := r.auth("GET", "a", "/v2/a/blobs/"+blob, "").want(http.StatusTemporaryRedirect).header.Get("Location")
	answered := 0
	for answered < 40 {
		if r.do("GET", "/v2/", "").status == http.StatusTooManyRequests {
			break
		}
		answered++
	}
	if answered == 0 || answered == 40 {
		t.Fatalf("%d requests more were answered after a push", answered)
	}
	for _, request := range []struct{ method, path string }{{"GET", "/v2/"}, {"GET", "/acr/v1/_catalog"}, {"DELETE", "/acr/v1/a"}, {"POST", "/oauth2/token"}, {"GET", "/no/such/path"}} {
		refused := r.do(request.method, request.path, "").says(429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}`+"\n").
			has("Docker-Distribution-Api-Version: registry/2.0", "Server: AzureContainerRegistry")
		if wait, err := strconv.Atoi(refused.header.Get("Retry-After")); err != nil || wait < 1 || wait > 3600 {
			t.Errorf("%s %s: Retry-After: %q", request.method, request.path, refused.header.Get("Retry-After"))
		}
	}
	r.raw("GET", signed, "").says(200, content)
}

func TestThrottleEndsWithItsSpan(t *testing.T) {
	r := start(t, localacr.Config{Throttle: 3, ThrottleSpan: time.Second})
	for _, refused := range []bool{false, true, false, true} {
		deadline := time.Now().Add(30 * time.Second)
		for (r.do("GET", "/v2/", "").status == http.StatusTooManyRequests) != refused {
			if time.Now().After(deadline) {
				t.Fatalf("half a minute, and refused is not %v", refused)
			}
		}
	}
}
