package localacr_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// Every fault does what it says, where it says, as often as it says.
func TestFaults(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	d := r.pushBlob("a", content)
	r.pushImage("a", "v1", "x")
	r.pushImage("a", "v2", "y")
	storage, catalog := localacr.EndpointStorage, localacr.EndpointCatalog
	for _, row := range []struct {
		name  string
		fault localacr.Fault
		check func(t *testing.T) reply
		after bool // the same request must work afterwards
	}{
		{"429", localacr.Fault{Endpoint: catalog, Count: 1, Effect: localacr.Effect{Status: 429, RetryAfter: "7"}}, func(t *testing.T) reply {
			return r.do("GET", "/acr/v1/_catalog", "").says(429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}`+"\n").has("Retry-After: 7")
		}, true},
		{"429 without a word when", localacr.Fault{Endpoint: localacr.EndpointManifest, Method: "HEAD", Count: 1, Effect: localacr.Effect{Status: 429}}, func(t *testing.T) reply {
			return r.do("HEAD", "/v2/a/manifests/v1", "", "Accept: "+typeManifest).says(429, "").has("Retry-After: ")
		}, true},
		{"503", localacr.Fault{Endpoint: catalog, Count: 1, Effect: localacr.Effect{Status: 503}}, func(t *testing.T) reply {
			return r.do("GET", "/acr/v1/_catalog", "").says(503, `{"errors":[{"code":"UNAVAILABLE","message":"service unavailable"}]}`+"\n").has("Retry-After: ")
		}, true},
		{"503 with a date", localacr.Fault{Endpoint: catalog, Count: 1, Effect: localacr.Effect{Status: 503, RetryAfter: "Fri, 07 Nov 2014 23:59:59 GMT"}}, func(t *testing.T) reply {
			return r.do("GET", "/acr/v1/_catalog", "").want(503).has("Retry-After: Fri, 07 Nov 2014 23:59:59 GMT")
		}, true},
		{"503 of storage", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Status: 503}}, func(t *testing.T) reply {
			got := r.fetch("a", d).want(503).has("Content-Type: application/xml", "Retry-After: ")
			if !strings.Contains(got.body, "<Code>ServerBusy</Code>") {
				t.Error(got.body)
			}
			return got
		}, true},
		{"reset", localacr.Fault{Endpoint: storage, Method: "GET", Effect: localacr.Effect{Reset: true}}, func(t *testing.T) reply {
			return r.fetch("a", d).broken(t, 0)
		}, true},
		{"reset of the registry", localacr.Fault{Endpoint: catalog, Effect: localacr.Effect{Reset: true}}, func(t *testing.T) reply {
			got := r.raw("GET", "/acr/v1/_catalog", "")
			if !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", got.err)
			}
			return got
		}, true},
		{"reset in the body", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{ResetAfter: 5000}}, func(t *testing.T) reply {
			got := r.fetch("a", d).broken(t, 5000)
			if !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", got.err)
			}
			return got
		}, true},
		{"truncated", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Truncate: 10}}, func(t *testing.T) reply {
			got := r.fetch("a", d).broken(t, len(content)-10)
			if len(got.body) != len(content)-10 {
				t.Errorf("%d bytes", len(got.body))
			}
			return got
		}, true},
		{"truncated with its length", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Truncate: 10, TruncateLength: true}}, func(t *testing.T) reply {
			return r.fetch("a", d).says(200, string(content[:len(content)-10]))
		}, true},
		{"one wrong byte", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Corrupt: true, CorruptAt: 70_001}}, func(t *testing.T) reply {
			wrong := bytes.Clone(content)
			wrong[70_001] ^= 0xff
			return r.fetch("a", d).says(200, string(wrong))
		}, true},
		{"ignored range", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{IgnoreRange: true}}, func(t *testing.T) reply {
			return r.fetch("a", d, "Range: bytes=5-6").says(200, string(content))
		}, true},
		{"wrong Content-Range", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{WrongRange: true}}, func(t *testing.T) reply {
			return r.fetch("a", d, "Range: bytes=5-6").says(206, "56").has("Content-Range: bytes 6-6/100000")
		}, true},
		{"expired signature", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{ExpiredSignature: true}}, func(t *testing.T) reply {
			return r.fetch("a", d).want(403).has("X-Ms-Error-Code: AuthenticationFailed")
		}, true},
		{"expired token", localacr.Fault{Endpoint: catalog, Skip: 1, Count: 1, Effect: localacr.Effect{ExpiredToken: true}}, func(t *testing.T) reply {
			got := r.do("GET", "/acr/v1/_catalog", "").want(401)
			if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Error(got.header)
			}
			return got
		}, true},
		{"narrow token", localacr.Fault{Endpoint: catalog, Skip: 1, Count: 1, Effect: localacr.Effect{NarrowToken: true}}, func(t *testing.T) reply {
			got := r.do("GET", "/acr/v1/_catalog", "").want(401)
			if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
				t.Error(got.header)
			}
			return got
		}, true},
		{"capped page", localacr.Fault{Endpoint: localacr.EndpointTags, Effect: localacr.Effect{PageSize: 1}}, func(t *testing.T) reply {
			return r.do("GET", "/acr/v1/a/_tags?n=1000", "").want(200).has(`Link: </acr/v1/a/_tags?last=v1&n=1&orderby=>; rel="next"`)
		}, false},
		{"link to another host", localacr.Fault{Endpoint: localacr.EndpointTags, Effect: localacr.Effect{LinkHost: "evil.example"}}, func(t *testing.T) reply {
			return r.do("GET", "/acr/v1/a/_tags?n=1", "").want(200).has(`Link: <http://evil.example/acr/v1/a/_tags?last=v1&n=1&orderby=>; rel="next"`)
		}, false},
		{"redirect loop", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{RedirectLoop: true}}, func(t *testing.T) reply {
			got := r.fetch("a", d).want(307)
			if "GET "+got.header.Get("Location") != got.request {
				t.Errorf("%s leads to %s", got.request, got.header.Get("Location"))
			}
			return got
		}, true},
		{"redirect loop of a manifest", localacr.Fault{Endpoint: localacr.EndpointManifest, Count: 1, Effect: localacr.Effect{RedirectLoop: true}}, func(t *testing.T) reply {
			return r.raw("GET", "/v2/a/manifests/v1?x=%2F", "").want(307).has("Location: " + r.url + "/v2/a/manifests/v1?x=%2F")
		}, true},
		{"bandwidth", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Bandwidth: 1 << 20}}, func(t *testing.T) reply {
			begin := time.Now()
			got := r.fetch("a", d).says(200, string(content))
			if took := time.Since(begin); took < 60*time.Millisecond { // of 95, less what goes at once
				t.Errorf("100 kB at 1 MiB/s took only %v", took)
			}
			return got
		}, true},
		{"delay", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{Delay: 50 * time.Millisecond}}, func(t *testing.T) reply {
			begin := time.Now()
			got := r.fetch("a", d).want(200)
			if took := time.Since(begin); took < 50*time.Millisecond {
				t.Errorf("took only %v", took)
			}
			return got
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			faults.Clear()
			hits := faults.Add(row.fault)
			row.check(t)
			if hits() == 0 {
				t.Error("the fault did not strike")
			}
			if row.after {
				if row.fault.Count == 0 {
					faults.Clear() // net/http itself tries a dropped connection again
				}
				r.fetch("a", d).says(200, string(content))
				r.do("GET", "/acr/v1/_catalog", "").want(200)
			}
		})
	}
}

// broken checks that an answer broke off after no more than n bytes.
func (got reply) broken(t *testing.T, n int) reply {
	t.Helper()
	if got.err == nil || len(got.body) > n {
		t.Errorf("%s: got %d bytes and %v, want at most %d and an error", got.request, len(got.body), got.err, n)
	}
	return got
}

// A stalled answer lasts until its client has had enough, whether it stalls
// before its headers or in its body.
func TestStall(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	d := r.pushBlob("a", make([]byte, 100_000))
	at := r.auth("GET", "a", "/v2/a/blobs/"+d, "").want(307).header.Get("Location")
	for _, row := range []struct {
		effect localacr.Effect
		bytes  int // negative: not even headers
	}{{localacr.Effect{Stall: true}, -1}, {localacr.Effect{StallAfter: 1000}, 1000}} {
		faults.Clear()
		faults.Add(localacr.Fault{Endpoint: localacr.EndpointStorage, Effect: row.effect})
		ctx, leave := context.WithCancel(t.Context())
		enough := func() { time.AfterFunc(200*time.Millisecond, leave) }
		req, err := http.NewRequestWithContext(ctx, "GET", at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.bytes < 0 {
			enough()
		}
		got := -1
		res, err := r.http.Do(req)
		if err == nil {
			var b bytes.Buffer
			io.CopyN(&b, res.Body, int64(row.bytes)) // what is to come, however long it takes
			enough()
			_, err = b.ReadFrom(res.Body)
			res.Body.Close()
			got = b.Len()
		}
		if !errors.Is(err, context.Canceled) || got != row.bytes {
			t.Errorf("%d bytes, %v; want %d until the client leaves", got, err, row.bytes)
		}
		leave()
	}
}

// Over HTTP/2 a dropped connection is a dropped stream.
func TestResetsOverHTTP2(t *testing.T) {
	faults := localacr.NewFaults(1)
	s, err := localacr.Open(localacr.Config{Root: freshRoot(t), Faults: faults, DirectBlobs: true, Name: "same"})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	r.host = "same"
	d := r.pushBlob("a", make([]byte, 100_000))
	token := "Authorization: Bearer " + r.token("repository:a:*")
	web := httptest.NewUnstartedServer(s)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	r.url, r.http = web.URL, web.Client()
	r.raw("GET", "/v2/a/blobs/"+d, "", token).want(200)
	for _, effect := range []localacr.Effect{{Reset: true}, {ResetAfter: 1000}, {Truncate: 10}} {
		faults.Clear()
		hits := faults.Add(localacr.Fault{Endpoint: localacr.EndpointBlob, Effect: effect})
		r.raw("GET", "/v2/a/blobs/"+d, "", token).broken(t, 100_000-10)
		if hits() == 0 {
			t.Errorf("%+v did not strike", effect)
		}
	}
}
