package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// paged serves repositories one per page, linked the way Azure does.
func paged(link func(last string) string, names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		at := slices.Index(names, r.URL.Query().Get("last")) + 1
		if at < len(names)-1 {
			w.Header().Set("Link", link(names[at]))
		}
		reply(200, fmt.Sprintf(`{"repositories":[%q]}`, names[at]))(w, r)
	}
}

func azureLink(last string) string {
	return fmt.Sprintf(`</acr/v1/_catalog?last=%s&n=1&orderby=>; rel="next"`, strings.ReplaceAll(last, "/", "%2F"))
}

func TestListsFollowEveryLink(t *testing.T) {
	a := newAzure(t)
	links := map[string]func(string) string{
		"relative": azureLink,
		"absolute": func(last string) string { return strings.Replace(azureLink(last), "</", "<"+a.URL+"/", 1) },
		"among others": func(last string) string {
			return `<https://docs.example/>; rel="help", ` + strings.Replace(azureLink(last), `"next"`, `"last next"; title="a, b"`, 1)
		},
		"query only": func(last string) string { return `<?last=` + last + `>;rel=next` },
	}
	for name, link := range links {
		t.Run(name, func(t *testing.T) {
			a.guard("GET /acr/v1/_catalog", "registry:catalog:*", paged(link, "a", "b/c", "d"))
			got, err := collect(newClient(t, a.URL).Repositories(t.Context()))
			if diff := cmp.Diff([]string{"a", "b/c", "d"}, got); err != nil || diff != "" {
				t.Errorf("got %v (-want +got)\n%s", err, diff)
			}
		})
	}
	if a.count("GET /acr/v1/_catalog?n=1000") == 0 {
		t.Error("the first page was not asked for with n=1000")
	}
}

func TestListErrorsAreYieldedNotSwallowed(t *testing.T) {
	for name, row := range map[string]struct {
		second http.HandlerFunc
		want   error
	}{
		"server fault":          {reply(503, "<html>"), ErrUnavailable},
		"no connection":         {cut, ErrUnavailable},
		"not json":              {reply(200, "<html>"), ErrUnavailable},
		"denied":                {reply(403, errorBody("DENIED", "client with IP <1.2.3.4> is not allowed access")), ErrDenied},
		"no list":               {reply(200, `{"message":"later"}`), ErrUnavailable},
		"null":                  {reply(200, `null`), ErrUnavailable},
		"an error as a success": {reply(200, errorBody("TOOMANYREQUESTS", "slow down")), ErrUnavailable},
		"throttled":             {reply(429, errorBody("TOOMANYREQUESTS", "slow down"), "Retry-After", "100"), ErrThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAzure(t)
			a.guard("GET /acr/v1/_catalog", "registry:catalog:*", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("last") != "" {
					row.second(w, r)
					return
				}
				reply(200, `{"repositories":["a"]}`, "Link", azureLink("a"))(w, r)
			})
			got, err := collect(newClient(t, a.URL).Repositories(t.Context()))
			if !errors.Is(err, row.want) || !slices.Equal(got, []string{"a"}) {
				t.Errorf("got %q, %v; want the first page, then %v", got, err, row.want)
			}
		})
	}
}

// TestCatalogOfSmallerPages: distribution's registry refuses a page longer than it
// is configured to give, and does not say how long that is.
func TestCatalogOfSmallerPages(t *testing.T) {
	f := newPlain(t)
	f.on("GET /v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Get("n") == pageSize:
			reply(400, errorBody("PAGINATION_NUMBER_INVALID", "invalid number of results requested"))(w, r)
		case query.Get("last") == "":
			reply(200, `{"repositories":["a"]}`, "Link", `</v2/_catalog?last=a&n=1>; rel="next"`)(w, r)
		default:
			reply(200, `{"repositories":["b"]}`)(w, r)
		}
	})
	got, err := collect(newClient(t, f.URL).Repositories(t.Context()))
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q, %v; want both pages", got, err)
	}
}

// TestPlainManifestsAreAllOrAnError: a collection never is a part of what there
// is without saying so.
func TestPlainManifestsAreAllOrAnError(t *testing.T) {
	f := newPlain(t)
	body, kind := `{"schemaVersion":2}`, ocispec.MediaTypeImageManifest
	var d digest.Digest
	for range maxDepth + 2 {
		d = push(f, kind, body, "v1")
		body = fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"mediaType":%q,"size":%d}]}`, d, kind, len(body))
		kind = ocispec.MediaTypeImageIndex
	}
	f.on("GET /v2/r/tags/list", reply(200, `{"tags":["v1"]}`))
	if got, err := collect(newClient(t, f.URL).Manifests(t.Context(), "r", ListOptions{})); !errors.Is(err, ErrUnavailable) {
		t.Errorf("indexes nested too deeply: got %d manifests, %v", len(got), err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	tags := func(yield func(Tag, error) bool) {
		cancel() // between two requests, when nobody else notices
		yield(Tag{Name: "v1"}, nil)
	}
	all := &collection{client: newClient(t, f.URL), repo: "r", nodes: map[digest.Digest]*node{}}
	if _, err := all.fromTags(ctx, tags); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestBlobsOfAnIndexAreNoManifests: BuildKit's caches are indexes of layers.
func TestBlobsOfAnIndexAreNoManifests(t *testing.T) {
	f := newPlain(t)
	child := func(mediaType string) string {
		return fmt.Sprintf(`{"digest":%q,"mediaType":%q,"size":1}`, digest.FromString(mediaType), mediaType)
	}
	const image = ocispec.MediaTypeImageManifest
	cache := push(f, ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[`+strings.Join([]string{
		child(ocispec.MediaTypeImageLayerGzip), child(ocispec.MediaTypeImageLayerZstd), child("application/vnd.docker.image.rootfs.diff.tar.gzip"),
		child("application/vnd.buildkit.cacheconfig.v0"), child(ocispec.MediaTypeImageConfig), child(image), child("application/vnd.example"),
	}, ",")+`]}`, "v1")
	f.on("GET /v2/r/tags/list", reply(200, `{"tags":["v1"]}`))
	list, err := collect(newClient(t, f.URL).Manifests(t.Context(), "r", ListOptions{}))
	var got []digest.Digest
	for _, p := range list {
		got = append(got, p.Digest)
	}
	want := []digest.Digest{cache, digest.FromString(image), digest.FromString("application/vnd.example")}
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestBrokenPageIsAskedForAgain(t *testing.T) {
	a := newAzure(t)
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte(`{"repositories":["a`))
	}
	a.guard("GET /acr/v1/_catalog", "registry:catalog:*", inTurn(half, reply(200, `{"repositories":["a"]}`)))
	got, err := collect(newClient(t, a.URL).Repositories(t.Context()))
	if err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLinksThatMustNotBeFollowed(t *testing.T) {
	for name, link := range map[string]func(f *fake) string{
		"itself":       func(f *fake) string { return `</acr/v1/_catalog?n=1000>; rel="next"` },
		"another name": func(f *fake) string { return `<` + f.elsewhere() + `/acr/v1/_catalog?last=a>; rel="next"` },
		"another port": func(f *fake) string { return `<http://127.0.0.1:1/acr/v1/_catalog?last=a>; rel="next"` },
		"another scheme": func(f *fake) string {
			return `<` + strings.Replace(f.URL, "http", "https", 1) + `/acr/v1/_catalog?last=a>; rel="next"`
		},
		"network path": func(f *fake) string { return `<//evil.example/acr/v1/_catalog>; rel="next"` },
		"unreadable":   func(f *fake) string { return `<:%zz>; rel="next"` },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAzure(t)
			a.guard("GET /acr/v1/_catalog", "registry:catalog:*", func(w http.ResponseWriter, r *http.Request) {
				reply(200, `{"repositories":["a"]}`, "Link", link(a.fake))(w, r)
			})
			_, err := collect(newClient(t, a.URL).Repositories(t.Context()))
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			if got := a.count("GET /acr/v1/_catalog"); got > 3 { // probe, list, at most one loop
				t.Errorf("asked %d times", got)
			}
		})
	}
}

func TestEmptyListsInEveryForm(t *testing.T) {
	for _, bodies := range []struct{ catalog, tags, manifests string }{
		{`{"repositories":null}`, `{"imageName":"r","tags":null}`, `{"imageName":"r","manifests":null}`},
		{`{"repositories":[]}`, `{"imageName":"r","tags":[]}`, `{"imageName":"r","manifests":[]}`},
		{`{}`, `{"registry":"contoso.azurecr.io","imageName":"r"}`, `{"registry":"contoso.azurecr.io","imageName":"r"}`},
	} {
		a := newAzure(t)
		a.guard("GET /acr/v1/_catalog", "registry:catalog:*", reply(200, bodies.catalog))
		a.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, bodies.tags))
		a.guard("GET /acr/v1/r/_manifests", "repository:r:metadata_read", reply(200, bodies.manifests))
		c := newClient(t, a.URL)
		repositories, err := collect(c.Repositories(t.Context()))
		tags, tagsErr := collect(c.Tags(t.Context(), "r", ListOptions{}))
		manifests, manifestsErr := collect(c.Manifests(t.Context(), "r", ListOptions{}))
		if err := errors.Join(err, tagsErr, manifestsErr); err != nil || len(repositories)+len(tags)+len(manifests) != 0 {
			t.Errorf("%+v: got %q, %v, %v, %v", bodies, repositories, tags, manifests, err)
		}
	}
	f := newPlain(t)
	f.on("GET /v2/null/tags/list", reply(200, `{"name":"null","tags":null}`))
	f.on("GET /v2/untagged/tags/list", reply(404, errorBody("NAME_UNKNOWN", "repository name not known to registry")))
	f.on("GET /v2/gone/tags/list", reply(404, errorBody("NAME_UNKNOWN", "repository name not known to registry")))
	f.on("GET /v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"a", "other", "untagged", "zoo"} {
			if name > r.URL.Query().Get("last") {
				reply(200, fmt.Sprintf(`{"repositories":[%q]}`, name))(w, r)
				return
			}
		}
	})
	c := newClient(t, f.URL)
	for _, repo := range []string{"null", "untagged"} {
		if tags, err := collect(c.Tags(t.Context(), repo, ListOptions{})); err != nil || len(tags) != 0 {
			t.Errorf("%s: got %v, %v; want no tags", repo, tags, err)
		}
	}
	_, err := collect(c.Tags(t.Context(), "gone", ListOptions{}))
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if want := `list tags of gone: 404 NAME_UNKNOWN: repository name not known to registry`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// TestAnswerWithoutAListIsNoEmptyOne: whoever mirrors that would delete everything.
func TestAnswerWithoutAListIsNoEmptyOne(t *testing.T) {
	for _, body := range []string{`null`, `{"message":"later"}`, `{"name":"r","child":[]}`} {
		f := newPlain(t)
		f.on("GET /v2/_catalog", reply(200, body))
		f.on("GET /v2/r/tags/list", reply(200, body))
		a := newAzure(t)
		a.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, body))
		a.guard("GET /acr/v1/r/_manifests", "repository:r:metadata_read", reply(200, body))
		plain, azure := newClient(t, f.URL), newClient(t, a.URL)
		_, catalog := collect(plain.Repositories(t.Context()))
		_, tags := collect(plain.Tags(t.Context(), "r", ListOptions{}))
		_, azureTags := collect(azure.Tags(t.Context(), "r", ListOptions{}))
		_, manifests := collect(azure.Manifests(t.Context(), "r", ListOptions{}))
		for what, err := range map[string]error{"repositories": catalog, "tags": tags, "Azure's tags": azureTags, "manifests": manifests} {
			if !errors.Is(err, ErrUnavailable) || !strings.HasSuffix(err.Error(), "it holds no list") {
				t.Errorf("%s from %s: got %v, want that it holds no list", what, body, err)
			}
		}
	}
}

func TestListWithoutAnEndIsGivenUp(t *testing.T) {
	f := newPlain(t)
	asked := 0
	f.on("GET /v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		asked++
		reply(200, "", "Link", fmt.Sprintf(`</v2/_catalog?last=%d>; rel="next"`, asked))(w, r)
	})
	c := newClient(t, f.URL)
	page := func([]byte) ([]string, skipped, error) { return make([]string, maxListed/4), skipped{count: 1}, nil }
	got, want := 0, "list: 2000004 entries so far; no list may have more than 2000000"
	for _, err := range pages(t.Context(), c, c.listCall("list", "/v2/_catalog", catalogScope, nil), page) {
		if err != nil {
			if got > maxListed || !errors.Is(err, ErrUnavailable) || err.Error() != want {
				t.Errorf("got %v after %d entries, want %s", err, got, want)
			}
			return
		}
		got++
	}
	t.Errorf("the list ended after %d entries without an error", got)
}

func TestMissingSecondPageIsNotAnEnd(t *testing.T) {
	f := newPlain(t)
	second := func(path string, first http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") == "a" {
				reply(404, errorBody("NAME_UNKNOWN", "gone"))(w, r)
				return
			}
			w.Header().Set("Link", "<"+path+"?last=a>; rel=next")
			first(w, r)
		}
	}
	f.on("GET /v2/_catalog", second("/v2/_catalog", reply(200, `{"repositories":["r"]}`)))
	f.on("GET /v2/r/tags/list", second("/v2/r/tags/list", reply(200, `{"tags":["a"]}`)))
	c := newClient(t, f.URL)
	if tags, err := collect(c.Tags(t.Context(), "r", ListOptions{})); !errors.Is(err, ErrNotFound) {
		t.Errorf("got tags %v, %v; want ErrNotFound", tags, err)
	}
	if repos, err := collect(c.Repositories(t.Context())); !errors.Is(err, ErrNotFound) {
		t.Errorf("got repositories %v, %v; want ErrNotFound", repos, err)
	}
}

func TestImpossibleNamesAreSkippedWithOneWarning(t *testing.T) {
	var log syncBuffer
	a := newAzure(t)
	a.guard("GET /acr/v1/_catalog", "registry:catalog:*", reply(200,
		`{"repositories":["ok","../etc","a/../b","/abs","a//b","Upper","nul\u0000","_tags","a/_tags",".","trailing/","ok/two"]}`))
	a.guard("GET /acr/v1/ok/_tags", "repository:ok:metadata_read", reply(200,
		`{"tags":[{"name":"good","digest":"`+someDigest+`"},{"name":"../x","digest":"`+someDigest+`"},{"name":"d","digest":"sha256:short"}]}`))
	a.guard("GET /acr/v1/ok/_manifests", "repository:ok:metadata_read", reply(200,
		`{"manifests":[{"digest":"`+someDigest+`","tags":["good","b/d"]},{"digest":"../../x"}]}`))
	c := newClient(t, a.URL, logTo(&log))
	repos, err := collect(c.Repositories(t.Context()))
	if diff := cmp.Diff([]string{"ok", "ok/two"}, repos); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	tags, err := collect(c.Tags(t.Context(), "ok", ListOptions{}))
	if err != nil || len(tags) != 1 || tags[0].Name != "good" {
		t.Errorf("got tags %v, %v", tags, err)
	}
	manifests, err := collect(c.Manifests(t.Context(), "ok", ListOptions{}))
	if err != nil || len(manifests) != 1 || !slices.Equal(manifests[0].Tags, []string{"good"}) {
		t.Errorf("got manifests %v, %v", manifests, err)
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 3 {
		t.Errorf("got %d warnings, want one for each of 3 listings\n%s", got, &log)
	}
}

func TestNamesThatCannotExistAreNotAskedFor(t *testing.T) {
	f := newPlain(t)
	c := newClient(t, f.URL)
	for _, ref := range []Ref{
		{Repository: ""}, {Repository: ".."}, {Repository: "a/../b", Tag: "v"}, {Repository: "A", Tag: "v"},
		{Repository: "a", Tag: "x/y"}, {Repository: "a", Tag: "x?y"}, {Repository: "a", Digest: "sha256:../../x"}, {Repository: "a?b", Tag: "v"},
	} {
		_, _, err := c.Manifest(t.Context(), ref)
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("manifest of %+v: got %v, want ErrNotFound", ref, err)
		}
		if err := c.Delete(t.Context(), ref); !errors.Is(err, ErrNotFound) && ref.Tag+ref.Digest.String() != "" {
			t.Errorf("delete %+v: got %v, want ErrNotFound", ref, err)
		}
		if _, err := c.OpenBlob(t.Context(), ref.Repository, ref.Digest, 0, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("blob of %+v: got %v, want ErrNotFound", ref, err)
		}
	}
	if got := f.requests(); len(got) != 0 {
		t.Errorf("asked %q", got)
	}
}

func TestPageTimeoutIsErrTimeout(t *testing.T) {
	f := newPlain(t)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	f.on("GET /v2/_catalog", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-hang
	})
	c := newClient(t, f.URL, func(cfg *Config) { cfg.MetadataTimeout = 100 * time.Millisecond })
	_, err := collect(c.Repositories(t.Context()))
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
}

func TestListingStopsAheadFetchWhenLeft(t *testing.T) {
	a := newAzure(t)
	a.guard("GET /acr/v1/_catalog", "registry:catalog:*", paged(azureLink, "a", "b", "c", "d", "e", "f"))
	c := newClient(t, a.URL)
	for name := range c.Repositories(t.Context()) {
		if name != "a" {
			t.Errorf("got %q first", name)
		}
		break
	}
	if got := a.count("GET /acr/v1/_catalog"); got > 3 { // probe, first page, one page ahead
		t.Errorf("asked for %d pages although only the first was wanted", got)
	}
}

func TestAzureOptionsBecomeQueries(t *testing.T) {
	a := newAzure(t)
	a.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, `{"tags":[]}`))
	c := newClient(t, a.URL)
	if _, err := collect(c.Tags(t.Context(), "r", ListOptions{Order: OrderNewestFirst, Digest: someDigest})); err != nil {
		t.Fatal(err)
	}
	if got := a.count("GET /acr/v1/r/_tags?digest=sha256%3A2f1c" + someDigest[11:] + "&n=1000&orderby=timedesc"); got != 1 {
		t.Errorf("got %q", a.requests())
	}
}
