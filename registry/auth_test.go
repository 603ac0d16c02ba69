package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newGuarded is a plain registry whose tags/list of repository "r" wants a
// token from the fake's own GET /token.
func newGuarded(t *testing.T) *fake {
	t.Helper()
	f := newPlain(t)
	f.on("GET /v2/r/tags/list", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			reply(200, `{"name":"r","tags":["v1"]}`)(w, r)
			return
		}
		reply(401, errorBody("UNAUTHORIZED", "authentication required"),
			"WWW-Authenticate", `Bearer realm="`+f.URL+`/token?x=1",service="the,service",scope="repository:r:pull"`)(w, r)
	})
	return f
}

func listTags(t *testing.T, c *Client, repo string) error {
	t.Helper()
	_, err := collect(c.Tags(t.Context(), repo, ListOptions{}))
	return err
}

func TestBasicCredentialsGetATokenFromTheRealm(t *testing.T) {
	f := newGuarded(t)
	var query url.Values
	var user, password string
	f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query()
		user, password, _ = r.BasicAuth()
		reply(200, `{"token":"good","expires_in":300}`)(w, r)
	})
	c := newClient(t, f.URL, withCredential(Credential{Username: "me", Password: "pass:word"}))
	for range 3 {
		if err := listTags(t, c, "r"); err != nil {
			t.Fatal(err)
		}
	}
	want := url.Values{"x": {"1"}, "service": {"the,service"}, "scope": {"repository:r:pull"}}
	if diff := cmp.Diff(want, query); diff != "" || user != "me" || password != "pass:word" {
		t.Errorf("got user %q password %q query (-want +got)\n%s", user, password, diff)
	}
	if got := f.count("GET /token"); got != 1 {
		t.Errorf("got %d token requests for one scope, want 1", got)
	}
	if got := f.count("GET /v2/r/tags/list"); got != 4 {
		t.Errorf("got %d list requests, want 4: one 401 in all", got)
	}
}

func TestIdentityTokenIsPostedAsRefreshToken(t *testing.T) {
	for name, credential := range map[string]Credential{
		"identity token":   {IdentityToken: "secret refresh"},
		"null GUID user":   {Username: "00000000-0000-0000-0000-000000000000", Password: "secret refresh"},
		"helper's <token>": {Username: "<token>", Password: "secret refresh"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newGuarded(t)
			var form url.Values
			f.on("POST /token", func(w http.ResponseWriter, r *http.Request) {
				r.ParseForm()
				form = r.PostForm
				reply(200, `{"access_token":"good"}`)(w, r)
			})
			c := newClient(t, f.URL, withCredential(credential))
			if err := listTags(t, c, "r"); err != nil {
				t.Fatal(err)
			}
			want := url.Values{"client_id": {"acrfs"}, "grant_type": {"refresh_token"}, "refresh_token": {"secret refresh"},
				"scope": {"repository:r:pull"}, "service": {"the,service"}}
			if diff := cmp.Diff(want, form); diff != "" {
				t.Errorf("form (-want +got)\n%s", diff)
			}
		})
	}
}

// A token that somebody else fetched is sent as it is, and read anew when it is
// refused; no service is asked for another.
func TestRegistryTokenIsSentAsItIs(t *testing.T) {
	f := newGuarded(t)
	given := "old"
	c := newClient(t, f.URL, func(cfg *Config) {
		cfg.Credentials = credentialFunc(func() (Credential, error) { return Credential{RegistryToken: given}, nil })
	})
	if err := listTags(t, c, "r"); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	given = "good"
	for range 2 {
		if err := listTags(t, c, "r"); err != nil {
			t.Errorf("after a new token: %v", err)
		}
	}
	if got := f.count("GET /token") + f.count("POST /token"); got != 0 {
		t.Errorf("the token service was asked %d times", got)
	}
}

func TestAzurePasswordIsPostedToTheTokenService(t *testing.T) {
	a := newAzure(t)
	c := newClient(t, a.URL, withCredential(Credential{Username: "admin", Password: "pw"}))
	if _, err := collect(c.Repositories(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"client_id": {"acrfs"}, "grant_type": {"password"}, "username": {"admin"}, "password": {"pw"},
		"scope": {"registry:catalog:*"}, "service": {a.url().Host}}
	if diff := cmp.Diff([]url.Values{want}, a.tokenForms()); diff != "" {
		t.Errorf("forms (-want +got)\n%s", diff)
	}
}

func TestAzureAnonymousSendsNoCredentials(t *testing.T) {
	a := newAzure(t)
	c := newClient(t, a.URL)
	if _, err := collect(c.Repositories(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"client_id": {"acrfs"}, "grant_type": {"password"}, "scope": {"registry:catalog:*"}, "service": {a.url().Host}}
	if diff := cmp.Diff([]url.Values{want}, a.tokenForms()); diff != "" {
		t.Errorf("forms (-want +got)\n%s", diff)
	}
}

func TestBasicChallengeGetsBasicHeader(t *testing.T) {
	f := newFake(t)
	guarded := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user == "me" && password == "pw" {
				h(w, r)
				return
			}
			reply(401, "", "WWW-Authenticate", `Negotiate, Basic realm="a, b"`)(w, r)
		}
	}
	f.on("GET /acr/v1/_catalog", guarded(reply(404, "not here")))
	f.on("GET /v2/", guarded(reply(200, "{}")))
	f.on("GET /v2/r/tags/list", guarded(reply(200, `{"tags":["v1"]}`)))

	if err := listTags(t, newClient(t, f.URL, withCredential(Credential{Username: "me", Password: "pw"})), "r"); err != nil {
		t.Error(err)
	}
	err := listTags(t, newClient(t, f.URL, withCredential(Credential{Username: "me", Password: "wrong"})), "r")
	if !errors.Is(err, ErrDenied) {
		t.Errorf("wrong password: got %v, want ErrDenied", err)
	}
	before := f.count("GET /v2/r/tags/list")
	if err := listTags(t, newClient(t, f.URL), "r"); !errors.Is(err, ErrDenied) {
		t.Errorf("anonymous: got %v, want ErrDenied", err)
	}
	if got := f.count("GET /v2/r/tags/list") - before; got != 1 {
		t.Errorf("anonymous asked %d times, want 1: there was nothing to offer", got)
	}
}

func TestOneTokenRequestForAllWhoWait(t *testing.T) {
	f := newGuarded(t)
	asked, release := make(chan struct{}, 9), make(chan struct{})
	f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		reply(200, `{"token":"good"}`)(w, r)
	})
	c := newClient(t, f.URL)
	first, leave := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := collect(c.Tags(first, "r", ListOptions{})); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who left got %v, want its own cancellation", err)
		}
	})
	<-asked
	leave() // the fetch goes on for the others
	for range 8 {
		group.Go(func() {
			if err := listTags(t, c, "r"); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	group.Wait()
	if got := f.count("GET /token"); got != 1 {
		t.Errorf("got %d token requests, want 1", got)
	}
}

func TestTokensAreKeptByScopeAndRenewedBeforeExpiry(t *testing.T) {
	a := newAzure(t)
	a.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, `{"tags":null}`))
	c := newClient(t, a.URL)
	for range 3 {
		if err := listTags(t, c, "r"); err != nil {
			t.Fatal(err)
		}
		if _, err := collect(c.Repositories(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(a.tokenForms()); got != 2 {
		t.Errorf("got %d token requests for two scopes, want 2", got)
	}
	if got := a.count("GET /acr/v1/r/_tags"); got != 3 {
		t.Errorf("got %d list requests, want 3: tokens are fetched beforehand", got)
	}
	// An expired token is not even tried.
	for _, key := range c.logins.tokens.known.Keys() {
		old, _ := c.logins.tokens.get(key)
		old.expires = time.Now().Add(-time.Second)
		c.logins.tokens.add(key, old)
	}
	if err := listTags(t, c, "r"); err != nil {
		t.Fatal(err)
	}
	if tokens, lists := len(a.tokenForms()), a.count("GET /acr/v1/r/_tags"); tokens != 3 || lists != 4 {
		t.Errorf("after expiry got %d token and %d list requests, want 3 and 4", tokens, lists)
	}
}

func TestRefusedTokenIsReplacedExactlyOnce(t *testing.T) {
	a := newAzure(t)
	a.on("DELETE /v2/r/manifests/"+someDigest, reply(401, errorBody("UNAUTHORIZED", "no"),
		"WWW-Authenticate", `Bearer realm="`+a.URL+`/oauth2/token",service="s",scope="repository:r:delete",error="insufficient_scope"`))
	c := newClient(t, a.URL)
	if _, err := collect(c.Repositories(t.Context())); err != nil { // how to log in is known from here on
		t.Fatal(err)
	}
	before := len(a.tokenForms())
	err := c.Delete(t.Context(), Ref{Repository: "r", Digest: someDigest})
	if !errors.Is(err, ErrDenied) {
		t.Fatalf("got %v, want ErrDenied", err)
	}
	if got := len(a.tokenForms()) - before; got != 2 {
		t.Errorf("got %d tokens, want 2: the first and exactly one new one", got)
	}
	if got := a.count("DELETE "); got != 2 {
		t.Errorf("got %d requests, want 2: one retry with a new token", got)
	}
}

func TestTokenOfTheChallengeScopeIsUsed(t *testing.T) {
	f := newPlain(t)
	f.on("GET /v2/r/tags/list", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer repository:r:pull,list" {
			reply(401, "", "WWW-Authenticate", `Bearer realm="`+f.URL+`/token",scope="repository:r:pull,list"`)(w, r)
			return
		}
		reply(200, `{"tags":["v1"]}`)(w, r)
	})
	f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
		reply(200, `{"token":"`+r.URL.Query().Get("scope")+`"}`)(w, r)
	})
	c := newClient(t, f.URL)
	for range 2 {
		if err := listTags(t, c, "r"); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.count("GET /token"); got != 1 {
		t.Errorf("got %d token requests, want 1", got)
	}
}

func TestRefusedLoginIsErrDeniedAndSaysSo(t *testing.T) {
	a := newAzure(t)
	a.grant = func(url.Values) bool { return false }
	_, err := collect(newClient(t, a.URL, withCredential(Credential{Username: "me", Password: "hunter2"})).Repositories(t.Context()))
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "credentials refused") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	_, err = collect(newClient(t, a.URL).Repositories(t.Context()))
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "anonymous access refused") {
		t.Errorf("got %v", err)
	}
}

// credentialFunc counts how often it is asked.
type credentialFunc func() (Credential, error)

func (f credentialFunc) Credential(context.Context) (Credential, error) { return f() }

func TestCredentialIsAskedForEachLogin(t *testing.T) {
	f := newFake(t)
	password := "old"
	valid := "old"
	var mu sync.Mutex
	f.on("GET /v2/", reply(200, "{}"))
	f.on("GET /v2/r/tags/list", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, got, _ := r.BasicAuth(); got != valid {
			reply(401, "", "WWW-Authenticate", `Basic realm="r"`)(w, r)
			return
		}
		reply(200, `{"tags":[]}`)(w, r)
	})
	c := newClient(t, f.URL, func(cfg *Config) {
		cfg.Credentials = credentialFunc(func() (Credential, error) {
			mu.Lock()
			defer mu.Unlock()
			return Credential{Username: "me", Password: password}, nil
		})
	})
	if err := listTags(t, c, "r"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	password, valid = "new", "new" // rotated under the running client
	mu.Unlock()
	if err := listTags(t, c, "r"); err != nil {
		t.Errorf("after the password changed: %v", err)
	}
}

func TestFailingCredentialSourceIsErrDenied(t *testing.T) {
	f := newGuarded(t)
	broken := errors.New("docker-credential-x: not found")
	c := newClient(t, f.URL, func(cfg *Config) {
		cfg.Credentials = credentialFunc(func() (Credential, error) { return Credential{}, broken })
	})
	if err := listTags(t, c, "r"); !errors.Is(err, ErrDenied) || !errors.Is(err, broken) {
		t.Errorf("got %v, want ErrDenied with its cause", err)
	}
}

// TestRealmIsCleanInErrors: what a registry says goes to a terminal.
func TestRealmIsCleanInErrors(t *testing.T) {
	f := newFake(t)
	f.on("GET /v2/", reply(401, "", "WWW-Authenticate", `Bearer realm="http://evil%C2%9B31mhost/token",service="x"`))
	err := newClient(t, f.URL, withCredential(Credential{Username: "u", Password: "p"})).Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "evil") || strings.ContainsRune(err.Error(), '\u009b') {
		t.Errorf("got %q", err)
	}
}

func TestRealmsThatMustNotGetCredentials(t *testing.T) {
	secret := Credential{Username: "u", Password: "p"}
	for _, row := range []struct {
		endpoint, realm string
		credential      Credential
		ok              bool
	}{
		{"https://r.example", "https://auth.example/token", secret, true},
		{"https://r.example", "http://auth.example/token", secret, false},
		{"https://r.example", "http://127.0.0.1/token", secret, false},
		{"https://r.example", "http://auth.example/token", Credential{}, false},
		{"http://127.0.0.1:5000", "http://127.0.0.1:6000/token", secret, true},
		{"http://127.0.0.1:5000", "http://localhost:6000/token", secret, true},
		{"http://127.0.0.1:5000", "http://auth.example/token", secret, false},
		{"http://127.0.0.1:5000", "http://auth.example/token", Credential{}, true},
		{"http://127.0.0.1:5000", "https://auth.example/token", secret, true},
		{"http://lan.example", "http://lan.example/token", secret, true}, // PlainHTTP was asked for
		{"http://lan.example", "http://auth.example/token", secret, false},
		{"http://lan.example", "http://127.0.0.1/token", secret, false},
	} {
		l := &logins{endpoint: parsed(t, row.endpoint)}
		if problem := l.checkRealm(parsed(t, row.realm), row.credential); (problem == "") != row.ok {
			t.Errorf("%s -> %s with %+v: got %q, want ok %v", row.endpoint, row.realm, row.credential, problem, row.ok)
		}
	}
}

func TestRedirectedTokenServiceGetsNoPassword(t *testing.T) {
	f, evil := newGuarded(t), newFake(t)
	evil.on("GET /steal", reply(200, `{"token":"good"}`))
	f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, evil.URL+"/steal", http.StatusFound)
	})
	c := newClient(t, f.URL, withCredential(Credential{Username: "u", Password: "p"}))
	if err := listTags(t, c, "r"); err != nil {
		t.Errorf("the redirect was not followed: %v", err)
	}
	for _, h := range evil.headers("GET ", "Authorization") {
		if h != "" {
			t.Error("the password went to the target of a redirect")
		}
	}
}

func parsed(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const someDigest = "sha256:2f1c0000000000000000000000000000000000000000000000000000000000aa"
