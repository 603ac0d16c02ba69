package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const locked = `{"errors":[{"code":"REGISTRY_DISALLOWED_OPERATION","message":"The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation","detail":{}}]}` + "\n"

func TestAzureDeletions(t *testing.T) {
	routes := map[string]Ref{
		"DELETE /acr/v1/team/app":                     {Repository: "team/app"},
		"DELETE /acr/v1/team/app/_tags/v1":            {Repository: "team/app", Tag: "v1"},
		"DELETE /v2/team/app/manifests/" + someDigest: {Repository: "team/app", Digest: someDigest},
	}
	for route, ref := range routes {
		for name, row := range map[string]struct {
			answer http.HandlerFunc
			want   error
		}{
			"accepted":               {reply(202, ""), nil},
			"locked":                 {reply(405, locked), ErrLocked},
			"missing":                {reply(404, errorBody("TAG_UNKNOWN", "the specified tag does not exist")), ErrNotFound},
			"missing after fault":    {inTurn(cut, reply(404, "")), nil},
			"missing after 503":      {inTurn(reply(503, ""), reply(404, "")), nil},
			"missing after throttle": {inTurn(reply(429, ""), reply(404, "")), ErrNotFound},
		} {
			t.Run(route+" "+name, func(t *testing.T) {
				a := newAzure(t)
				a.guard(route, "repository:team/app:delete", row.answer)
				err := newClient(t, a.URL).Delete(t.Context(), ref)
				if !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
			})
		}
	}
}

func TestPlainTagDeletion(t *testing.T) {
	body := `{"schemaVersion":2}`
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		look   http.HandlerFunc // afterwards, at the manifest
		want   error
		puts   int
		last   bool // no further tag is deleted
	}{
		"tag alone":                  {reply(202, ""), nil, nil, 0, false},
		"405 as older ones":          {reply(405, errorBody("UNSUPPORTED", "The operation is unsupported.")), nil, ErrUnsupported, 0, false},
		"400 as still older":         {reply(400, errorBody("DIGEST_INVALID", "provided digest did not match uploaded content")), nil, ErrUnsupported, 0, false},
		"denied":                     {reply(403, ""), nil, ErrDenied, 0, false},
		"takes the manifest":         {reply(202, ""), reply(404, ""), nil, 1, true},
		"takes it without an answer": {reply(504, ""), reply(404, ""), ErrUnavailable, 1, true},
		"no answer, and it is there": {reply(504, ""), nil, ErrUnavailable, 0, false},
		"no answer to anything":      {reply(504, ""), reply(503, ""), ErrUnavailable, 0, false},
		"it cannot be seen, and put": {reply(202, ""), reply(503, ""), nil, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlain(t)
			d := push(f, dockerManifest, body, "v1", "v2")
			digestPath := "/v2/r/manifests/" + d.String()
			f.on("DELETE /v2/r/manifests/v1", func(w http.ResponseWriter, r *http.Request) {
				if row.look != nil {
					f.on("HEAD "+digestPath, row.look)
				}
				row.answer(w, r)
			})
			var put string
			f.on("PUT "+digestPath, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				put = r.Header.Get("Content-Type") + " " + string(b)
				w.WriteHeader(201)
			})
			c := newClient(t, f.URL)
			err := c.Delete(t.Context(), Ref{Repository: "r", Tag: "v1"})
			if !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if got := f.count("PUT "); got != row.puts || (row.puts > 0 && put != dockerManifest+" "+body) {
				t.Errorf("put back %d times: %q", got, put)
			}
			if f.count("DELETE "+digestPath) != 0 {
				t.Error("the manifest was deleted in the tag's place")
			}
			if err := c.Delete(t.Context(), Ref{Repository: "r", Tag: "v2"}); row.last && !errors.Is(err, ErrUnsupported) {
				t.Errorf("the next tag: got %v, want ErrUnsupported", err)
			}
		})
	}
	f := newPlain(t)
	c := newClient(t, f.URL)
	if err := c.Delete(t.Context(), Ref{Repository: "r"}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("repository: got %v, want ErrUnsupported", err)
	}
	if err := c.Delete(t.Context(), Ref{Repository: "r", Tag: "v1"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing tag: got %v, want ErrNotFound", err)
	}
}

// TestCallerWhoLeavesATagDeletion does not leave the manifest deleted.
func TestCallerWhoLeavesATagDeletion(t *testing.T) {
	f := newPlain(t)
	d := push(f, dockerManifest, `{"schemaVersion":2}`, "v1")
	digestPath := "/v2/r/manifests/" + d.String()
	ctx, leave := context.WithCancel(t.Context())
	f.on("DELETE /v2/r/manifests/v1", func(w http.ResponseWriter, r *http.Request) {
		f.on("HEAD "+digestPath, nil)
		leave()
		<-r.Context().Done()
	})
	f.on("PUT "+digestPath, reply(201, ""))
	if err := newClient(t, f.URL).Delete(ctx, Ref{Repository: "r", Tag: "v1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if f.count("PUT "+digestPath) != 1 {
		t.Errorf("the manifest went with its tag: %q", f.requests())
	}
}

// TestCallerWhoLeavesDuringTheLook is as little in the way.
func TestCallerWhoLeavesDuringTheLook(t *testing.T) {
	f := newPlain(t)
	d := push(f, dockerManifest, `{"schemaVersion":2}`, "v1")
	digestPath := "/v2/r/manifests/" + d.String()
	ctx, leave := context.WithCancel(t.Context())
	f.on("DELETE /v2/r/manifests/v1", reply(202, ""))
	f.on("HEAD "+digestPath, func(w http.ResponseWriter, r *http.Request) {
		leave()
		select {
		case <-r.Context().Done():
		case <-time.After(100 * time.Millisecond): // nobody took it away
			w.WriteHeader(404)
		}
	})
	f.on("PUT "+digestPath, reply(201, ""))
	if err := newClient(t, f.URL).Delete(ctx, Ref{Repository: "r", Tag: "v1"}); err != nil {
		t.Errorf("got %v; it was deleted", err)
	}
	if f.count("PUT "+digestPath) != 1 {
		t.Errorf("the manifest went with its tag: %q", f.requests())
	}
}

func TestDeleteBlob(t *testing.T) {
	f := newPlain(t)
	f.on("DELETE /v2/r/blobs/"+someDigest, inTurn(reply(202, ""), reply(404, errorBody("BLOB_UNKNOWN", "blob unknown to registry"))))
	c := newClient(t, f.URL)
	if err := c.DeleteBlob(t.Context(), "r", someDigest); err != nil {
		t.Error(err)
	}
	if err := c.DeleteBlob(t.Context(), "r", someDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestUpdateSendsOnlyWhatChanges(t *testing.T) {
	no := false
	item := `{"name":"v1","digest":"` + someDigest + `","createdTime":"2024-01-24T06:16:01.534509Z","lastUpdateTime":"2024-08-08T00:59:58","changeableAttributes":{"deleteEnabled":true,"writeEnabled":false,"readEnabled":true,"listEnabled":true}}`
	for route, row := range map[string]struct {
		ref    Ref
		answer string
	}{
		"PATCH /acr/v1/r":                          {Ref{Repository: "r"}, item},
		"PATCH /acr/v1/r/_tags/v1":                 {Ref{Repository: "r", Tag: "v1"}, `{"tag":` + item + `}`},
		"PATCH /acr/v1/r/_manifests/" + someDigest: {Ref{Repository: "r", Digest: someDigest}, `{"manifest":` + item + `}`},
	} {
		a := newAzure(t)
		var sent string
		a.guard(route, "repository:r:metadata_write", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			sent = r.Header.Get("Content-Type") + " " + string(b)
			reply(200, row.answer)(w, r)
		})
		got, err := newClient(t, a.URL).Update(t.Context(), row.ref, AccessPatch{CanWrite: &no})
		if err != nil {
			t.Errorf("%s: %v", route, err)
			continue
		}
		if sent != `application/json {"writeEnabled":false}` {
			t.Errorf("%s: sent %q", route, sent)
		}
		if diff := cmp.Diff(Access{Known: true, CanDelete: true, CanRead: true, CanList: true}, got.Access); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", route, diff)
		}
		if got.Digest != digest.Digest(someDigest) || got.Created.Nanosecond() != 534509000 || got.Updated.Second() != 58 {
			t.Errorf("%s: got %+v", route, got)
		}
	}
}

func TestPropertiesOfAnotherItemAreRefused(t *testing.T) {
	a := newAzure(t)
	a.guard("GET /acr/v1/r/_tags/v1", "repository:r:metadata_read", reply(200, `{"tag":{"name":"v2","digest":"`+someDigest+`"}}`))
	a.guard("GET /acr/v1/r/_tags/v2", "repository:r:metadata_read", reply(200, `{}`))
	c := newClient(t, a.URL)
	for _, tag := range []string{"v1", "v2"} {
		if _, err := c.Properties(t.Context(), Ref{Repository: "r", Tag: tag}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", tag, err)
		}
	}
	if _, err := c.Properties(t.Context(), Ref{Repository: "r", Tag: "v3"}); !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "page not found") {
		t.Errorf("got %v", err)
	}
}
