package localacr_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
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
		{"reset in the body", localacr.Fault{Endpoint: storage, Count: 1, Effect: localacr.Effect{ResetAfter: 5000}}, func(t *testing.T) reply {
			return r.fetch("a", d).broken(t, 5000)
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

// A stalled answer lasts until its client has had enough.
func TestStall(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	d := r.pushBlob("a", make([]byte, 100_000))
	at := r.auth("GET", "a", "/v2/a/blobs/"+d, "").want(307).header.Get("Location")
	faults.Add(localacr.Fault{Endpoint: localacr.EndpointStorage, Effect: localacr.Effect{StallAfter: 1000}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); !errors.Is(err, context.DeadlineExceeded) || b.Len() != 1000 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

// The same seed makes the same choices.
func TestFaultChancesAreRepeatable(t *testing.T) {
	run := func(seed uint64) (struck []int) {
		faults := localacr.NewFaults(seed)
		r := start(t, localacr.Config{Faults: faults})
		faults.Add(localacr.Fault{Endpoint: localacr.EndpointPing, Probability: 0.5, Effect: localacr.Effect{Status: 503}})
		for i := range 40 {
			if r.raw("GET", "/v2/", "").status == 503 {
				struck = append(struck, i)
			}
		}
		return struck
	}
	a, b, c := run(1), run(1), run(2)
	if len(a) < 5 || len(a) > 35 || len(a) != len(b) {
		t.Fatal(a, b)
	}
	same := len(a) == len(c)
	for i := range a {
		if a[i] != b[i] {
			t.Fatal(a, b)
		}
		same = same && i < len(c) && a[i] == c[i]
	}
	if same {
		t.Error("another seed made the same choices")
	}
}
