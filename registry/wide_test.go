package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// newWide is an Azure registry with a few repositories that can be read.
func newWide(t *testing.T, may func(scope string) bool) (a *azure, c *Client, read func(repo string) error) {
	t.Helper()
	a = newAzure(t)
	a.may = may
	manifest := `{"schemaVersion":2}`
	d := digest.FromString(manifest).String()
	for i := range 5 {
		repo := fmt.Sprintf("team/app%d", i)
		a.guard("GET /acr/v1/"+repo+"/_tags", readScope(repo), reply(200, `{"tags":null}`))
		a.guard("GET /v2/"+repo+"/manifests/v1", pullScope(repo), reply(200, manifest, "Content-Type", "application/vnd.oci.image.manifest.v1+json", "Docker-Content-Digest", d))
	}
	c = newClient(t, a.URL)
	return a, c, func(repo string) error {
		listErr := listTags(t, c, repo)
		_, _, err := c.Manifest(t.Context(), Ref{Repository: repo, Tag: "v1"})
		return errors.Join(listErr, err)
	}
}

func readAllRepositories(t *testing.T, read func(repo string) error) {
	t.Helper()
	for i := range 5 {
		if err := read(fmt.Sprintf("team/app%d", i)); err != nil {
			t.Error(err)
		}
	}
}

func TestOneTokenServesAllRepositories(t *testing.T) {
	a, _, read := newWide(t, func(string) bool { return true })
	readAllRepositories(t, read)
	if forms := a.tokenForms(); len(forms) != 1 {
		t.Errorf("got %d tokens for all repositories, want 1: %v", len(forms), forms)
	}
	if got := a.count("GET /"); got != 1+2*5 {
		t.Errorf("got %d requests, want one each and the probe: %q", got, a.requests())
	}
}

func TestTokenOfOneRepositoryStaysThere(t *testing.T) {
	a, _, read := newWide(t, notEverywhere)
	readAllRepositories(t, read)
	if got := len(a.tokenForms()); got != 2*5 {
		t.Errorf("got %d tokens for five repositories, want two each", got)
	}
	if got := a.count("GET /"); got != 1+2*5 {
		t.Errorf("got %d requests, want one each and the probe: a token went where it is no good", got)
	}
}

// TestAnonymousPullServesMetadataToo: an anonymous caller's token says no more
// than pull, and Azure takes it for lists as well.
func TestAnonymousPullServesMetadataToo(t *testing.T) {
	a, _, read := newWide(t, notEverywhere)
	a.anon = true
	readAllRepositories(t, read)
	if got := len(a.tokenForms()); got != 1 {
		t.Errorf("got %d tokens, want 1", got)
	}
}

// TestTooNarrowInOneRepository: there a token of its own is asked for, and
// elsewhere the one for all stays in use.
func TestTooNarrowInOneRepository(t *testing.T) {
	a, _, read := newWide(t, func(string) bool { return true })
	list := a.routes["GET /acr/v1/team/app1/_tags"]
	a.on("GET /acr/v1/team/app1/_tags", func(w http.ResponseWriter, r *http.Request) {
		if a.allows(r.Header.Get("Authorization"), "repository:*:pull") {
			r.Header.Set("Authorization", "Bearer narrow.e30.token")
		}
		list(w, r)
	})
	readAllRepositories(t, read)
	readAllRepositories(t, read)
	var asked []string
	for _, form := range a.tokenForms() {
		asked = append(asked, form.Get("scope"))
	}
	want := []string{
		readScope("team/app0") + " " + everywhere,
		readScope("team/app1"),
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("scopes asked for (-want +got)\n%s", diff)
	}
}

// TestTooNarrowInOneRepositoryOfMany: several walkers each come with a token for
// all, and the one where that is too narrow is not given another such.
func TestTooNarrowInOneRepositoryOfMany(t *testing.T) {
	a, _, read := newWide(t, func(string) bool { return true })
	issue := a.routes["POST /oauth2/token"]
	const walkers = 4
	var arrived atomic.Int64
	all := make(chan struct{})
	a.on("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		switch n := arrived.Add(1); {
		case n == walkers:
			close(all)
		case n < walkers:
			<-all // those of the cold start are under way together
		}
		issue(w, r)
	})
	list := a.routes["GET /acr/v1/team/app1/_tags"]
	a.on("GET /acr/v1/team/app1/_tags", func(w http.ResponseWriter, r *http.Request) {
		if a.allows(r.Header.Get("Authorization"), "repository:*:pull") {
			time.Sleep(50 * time.Millisecond) // the others have their tokens by then
			r.Header.Set("Authorization", "Bearer narrow.e30.token")
		}
		list(w, r)
	})
	var group sync.WaitGroup
	for i := range walkers {
		group.Go(func() {
			if err := read(fmt.Sprintf("team/app%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// TestServiceThatRefusesWideScopes is asked for narrow ones from then on.
func TestServiceThatRefusesWideScopes(t *testing.T) {
	a, _, read := newWide(t, notEverywhere)
	a.grant = func(form url.Values) bool { return !strings.Contains(form.Get("scope"), "*:") }
	readAllRepositories(t, read)
	if got := len(a.tokenForms()); got != 1+2*5 {
		t.Errorf("got %d token requests, want one refusal and two for each repository", got)
	}
}

// TestRefusedWideTokenIsReplaced, once for all repositories.
func TestRefusedWideTokenIsReplaced(t *testing.T) {
	a, c, read := newWide(t, func(string) bool { return true })
	if err := read("team/app0"); err != nil {
		t.Fatal(err)
	}
	how := *c.logins.known.Load()
	for _, action := range []string{"metadata_read", "pull"} {
		key := tokenKey(how, "repository:*:"+action)
		old, ok := c.logins.tokens.get(key)
		if !ok {
			t.Fatalf("no token for %s of all repositories", action)
		}
		old.value = "Bearer revoked"
		c.logins.tokens.add(key, old)
	}
	before := len(a.tokenForms())
	readAllRepositories(t, read)
	if got := len(a.tokenForms()) - before; got != 1 {
		t.Errorf("got %d new tokens, want 1", got)
	}
}

func readScope(repo string) string { return scopeOf(repo, "metadata_read") }
