package localacr_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// A fault strikes the requests that it names, after those it lets pass and no
// more often than it says; of several, the first one that is due.
func TestFaultsStrikeWhatTheyName(t *testing.T) {
	status := func(n int) localacr.Effect { return localacr.Effect{Status: n} }
	for _, row := range []struct {
		name     string
		faults   []localacr.Fault
		requests string // "METHOD PATH" and so on
		want     string // statuses; 401 is no fault
	}{
		{"anything", []localacr.Fault{{Effect: status(500)}},
			"GET /v2/, PUT /acr/v1/a, GET /nowhere", "500 500 500"},
		{"an endpoint, whatever its address", []localacr.Fault{{Endpoint: localacr.EndpointCatalog, Effect: status(500)}},
			"GET /v2/_catalog, GET /acr/v1/_catalog, GET /v2/", "500 500 401"},
		{"a method", []localacr.Fault{{Method: "HEAD", Effect: status(500)}},
			"GET /v2/a/manifests/v1, HEAD /v2/a/manifests/v1", "401 500"},
		{"a repository, escaped or not", []localacr.Fault{{Repository: "a/b", Effect: status(500)}},
			"GET /v2/a/b/tags/list, GET /acr/v1/a%2Fb, GET /acr/v1/a, GET /acr/v1/a/b/c", "500 500 401 401"},
		{"all three", []localacr.Fault{{Endpoint: localacr.EndpointTag, Method: "DELETE", Repository: "a", Effect: status(500)}},
			"DELETE /acr/v1/a/_tags/v1, GET /acr/v1/a/_tags/v1, DELETE /acr/v1/b/_tags/v1, DELETE /acr/v1/a", "500 401 401 401"},
		{"what no route knows", []localacr.Fault{{Endpoint: localacr.EndpointNone, Effect: status(500)}},
			"GET /nowhere, GET /v2/a/b, GET /v2/", "500 500 401"},
		{"a count", []localacr.Fault{{Count: 2, Effect: status(500)}},
			"GET /v2/, GET /v2/, GET /v2/, GET /v2/", "500 500 401 401"},
		{"a count after some", []localacr.Fault{{Skip: 2, Count: 1, Effect: status(500)}},
			"GET /v2/, GET /v2/, GET /v2/, GET /v2/", "401 401 500 401"},
		{"others do not count", []localacr.Fault{{Endpoint: localacr.EndpointPing, Skip: 1, Effect: status(500)}},
			"GET /acr/v1/a, GET /v2/, GET /acr/v1/a, GET /v2/", "401 401 401 500"},
		{"the first that is added", []localacr.Fault{{Endpoint: localacr.EndpointPing, Count: 1, Effect: status(500)}, {Effect: status(503)}},
			"GET /v2/, GET /v2/, GET /acr/v1/a", "500 503 503"},
		{"one after the other", []localacr.Fault{{Count: 1, Effect: status(500)}, {Count: 1, Effect: status(503)}},
			"GET /v2/, GET /v2/, GET /v2/", "500 503 401"},
	} {
		t.Run(row.name, func(t *testing.T) {
			faults := localacr.NewFaults(1)
			r := start(t, localacr.Config{Faults: faults})
			var hits []func() int
			for _, f := range row.faults {
				hits = append(hits, faults.Add(f))
			}
			var got []string
			for request := range strings.SplitSeq(row.requests, ", ") {
				method, path, _ := strings.Cut(request, " ")
				got = append(got, fmt.Sprint(r.raw(method, path, "").status))
			}
			if have := strings.Join(got, " "); have != row.want {
				t.Errorf("%s: got %s, want %s", row.requests, have, row.want)
			}
			struck := 0
			for _, n := range hits {
				struck += n()
			}
			if want := strings.Count(row.want, "5"); struck != want {
				t.Errorf("%d hits are counted, want %d", struck, want)
			}
			faults.Clear()
			r.raw("GET", "/v2/", "").want(401)
		})
	}
}

// A fault of a login gives tokens that have expired, or hold nothing.
func TestFaultsOfLogins(t *testing.T) {
	faults := localacr.NewFaults(1)
	r := start(t, localacr.Config{Faults: faults})
	r.pushImage("a", "v1", "x")
	form := url.Values{"grant_type": {"password"}, "service": {r.host}, "scope": {"repository:a:metadata_read"}}
	faults.Add(localacr.Fault{Endpoint: localacr.EndpointToken, Count: 1, Effect: localacr.Effect{ExpiredToken: true}})
	faults.Add(localacr.Fault{Endpoint: localacr.EndpointToken, Count: 1, Effect: localacr.Effect{NarrowToken: true}})
	for _, problem := range []string{"invalid_token", "insufficient_scope", ""} {
		token := r.login("token", form).tokenIn("access_token")
		if expired := int64(payload(t, token)["exp"].(float64)) <= time.Now().Unix(); expired != (problem == "invalid_token") {
			t.Errorf("%s: %v", problem, payload(t, token))
		}
		got := r.raw("GET", "/acr/v1/a", "", "Authorization: Bearer "+token)
		if challenge := got.header.Get("WWW-Authenticate"); problem != "" && (got.status != 401 || !strings.HasSuffix(challenge, `,error="`+problem+`"`)) {
			t.Errorf("%s: %d, %s", problem, got.status, challenge)
		} else if problem == "" {
			got.want(200)
		}
	}
	exchange := url.Values{"grant_type": {"access_token"}, "service": {r.host}, "access_token": {entra("https://containerregistry.azure.net", time.Now().Add(time.Hour))}}
	faults.Add(localacr.Fault{Endpoint: localacr.EndpointExchange, Count: 1, Effect: localacr.Effect{ExpiredToken: true}})
	r.login("exchange", exchange).says(401, "")
	r.login("exchange", exchange).tokenIn("refresh_token")
}

// Probability is a choice per request; the same seed makes the same choices,
// whatever else is asked for in between.
func TestFaultChancesAreRepeatable(t *testing.T) {
	run := func(seed uint64, others bool) (struck []int) {
		faults := localacr.NewFaults(seed)
		r := start(t, localacr.Config{Faults: faults})
		faults.Add(localacr.Fault{Endpoint: localacr.EndpointPing, Probability: 0.5, Effect: localacr.Effect{Status: 503}})
		for i := range 40 {
			if others {
				r.raw("GET", "/acr/v1/a", "").want(401)
			}
			if r.raw("GET", "/v2/", "").status == 503 {
				struck = append(struck, i)
			}
		}
		return struck
	}
	once := run(1, false)
	if len(once) < 5 || len(once) > 35 {
		t.Errorf("a fault of every second request struck %v of 40", once)
	}
	if again := run(1, true); !slices.Equal(once, again) {
		t.Errorf("the same seed struck %v and %v", once, again)
	}
	if other := run(2, false); slices.Equal(once, other) {
		t.Errorf("another seed made the same choices: %v", other)
	}
}
