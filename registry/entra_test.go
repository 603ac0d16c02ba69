package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"
)

// tokensFunc is a credential as azidentity makes them.
type tokensFunc func(scope string) (azcore.AccessToken, error)

func (f tokensFunc) GetToken(_ context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return f(strings.Join(options.Scopes, " "))
}

// always gives one Entra token, good for an hour.
func always(value string) tokensFunc {
	return func(string) (azcore.AccessToken, error) {
		return azcore.AccessToken{Token: value, ExpiresOn: time.Now().Add(time.Hour)}, nil
	}
}

func withEntra(tokens azcore.TokenCredential) func(*Config) {
	return withCredential(Credential{Entra: NewEntra(tokens, "")})
}

// exchanging is an azure that exchanges the Entra token "entra-N" for the
// refresh token "refresh-N", and takes only the refresh tokens in valid.
type exchanging struct {
	*azure
	mu    sync.Mutex // guards all below
	forms []url.Values
	takes func(entra string) bool
	valid func(refresh string) bool
	life  time.Duration
}

func newExchanging(t *testing.T) *exchanging {
	t.Helper()
	e := &exchanging{azure: newAzure(t), life: 3 * time.Hour}
	e.takes = func(string) bool { return true }
	e.valid = func(string) bool { return true }
	e.on("POST /oauth2/exchange", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.forms = append(e.forms, r.PostForm)
		token := r.PostForm.Get("access_token")
		if !e.takes(token) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		claims := fmt.Sprintf(`{"exp":%d,"entra":%q,"serial":%d}`, time.Now().Add(e.life).Unix(), token, len(e.forms))
		fmt.Fprintf(w, `{"refresh_token":%q}`, jwt(claims))
	})
	e.grant = func(form url.Values) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return strings.Count(form.Get("refresh_token"), ".") == 2 && e.valid(form.Get("refresh_token"))
	}
	return e
}

func TestEntraTokenIsExchangedOnceForAllScopes(t *testing.T) {
	e := newExchanging(t)
	e.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, `{"tags":null}`))
	var scopes []string
	c := newClient(t, e.URL, withEntra(tokensFunc(func(scope string) (azcore.AccessToken, error) {
		scopes = append(scopes, scope)
		return always("entra-1")(scope)
	})))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := listTags(t, c, "r"); err != nil {
				t.Error(err)
			}
			if _, err := collect(c.Repositories(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	want := []url.Values{{"grant_type": {"access_token"}, "service": {e.url().Host}, "access_token": {"entra-1"}}}
	if diff := cmp.Diff(want, e.forms); diff != "" {
		t.Errorf("exchanges (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"https://containerregistry.azure.net/.default"}, scopes); diff != "" {
		t.Errorf("what Entra was asked for (-want +got)\n%s", diff)
	}
	for _, form := range e.tokenForms() {
		if form.Get("grant_type") != "refresh_token" || form.Get("access_token") != "" {
			t.Errorf("the token service was asked with %v", form)
		}
	}
	if got := len(e.tokenForms()); got != 2 {
		t.Errorf("got %d access tokens for two scopes, want 2", got)
	}
}

func TestRefusedRefreshTokenGoesBackToTheIdentity(t *testing.T) {
	e := newExchanging(t)
	e.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, `{"tags":null}`))
	c := newClient(t, e.URL, withEntra(always("entra-1")))
	if _, err := collect(c.Repositories(t.Context())); err != nil {
		t.Fatal(err)
	}
	first := e.tokenForms()[0].Get("refresh_token")
	e.mu.Lock()
	e.valid = func(refresh string) bool { return refresh != first } // taken back before its time
	e.mu.Unlock()
	if err := listTags(t, c, "r"); err != nil {
		t.Fatal(err)
	}
	if exchanges, asked := len(e.forms), len(e.tokenForms()); exchanges != 2 || asked != 3 {
		t.Errorf("got %d exchanges and %d token requests, want 2 and 3", exchanges, asked)
	}

	// One that is refused however new it is ends in an error, not in a loop.
	e.mu.Lock()
	e.valid = func(string) bool { return false }
	e.mu.Unlock()
	before := len(e.tokenForms())
	if err := listTags(t, c, "other"); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	if got := len(e.tokenForms()) - before; got > 4 {
		t.Errorf("got %d token requests for a login that cannot succeed", got)
	}
}

func TestRefreshTokenIsJudgedByItsExpiry(t *testing.T) {
	e := newExchanging(t)
	e.life = -time.Minute // each is old already
	e.guard("GET /acr/v1/r/_tags", "repository:r:metadata_read", reply(200, `{"tags":null}`))
	c := newClient(t, e.URL, withEntra(always("entra-1")))
	if _, err := collect(c.Repositories(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := listTags(t, c, "r"); err != nil {
		t.Fatal(err)
	}
	if got := len(e.forms); got != 2 {
		t.Errorf("got %d exchanges, want 2: an expired refresh token is not even tried", got)
	}
}

func TestEntraTokenRefusedAtTheExchangeIsReplacedOnce(t *testing.T) {
	e := newExchanging(t)
	serial := 0
	renewing := tokensFunc(func(scope string) (azcore.AccessToken, error) {
		serial++
		return always(fmt.Sprintf("entra-%d", serial))(scope)
	})
	e.takes = func(entra string) bool { return entra == "entra-2" }
	c := newClient(t, e.URL, withEntra(renewing))
	if _, err := collect(c.Repositories(t.Context())); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.takes = func(string) bool { return false }
	e.mu.Unlock()
	c = newClient(t, e.URL, withEntra(always("the-only-one")))
	before := len(e.forms)
	_, err := collect(c.Repositories(t.Context()))
	var ours *Error
	if !errors.Is(err, ErrDenied) || !errors.As(err, &ours) || strings.Contains(err.Error(), "the-only-one") {
		t.Errorf("got %v, want ErrDenied without the token", err)
	}
	if got := len(e.forms) - before; got != 1 {
		t.Errorf("the same token was offered %d times", got)
	}
}

// The Entra token opens more than a registry: it goes to the registry alone,
// whatever a challenge says, and never in clear over a network.
func TestEntraTokenStaysAtTheRegistry(t *testing.T) {
	elsewhere := newExchanging(t)
	f := newPlain(t)
	f.on("GET /v2/r/tags/list", reply(401, "", "WWW-Authenticate", `Bearer realm="`+elsewhere.URL+`/oauth2/token",service="s"`))
	f.on("POST /oauth2/exchange", reply(200, `{"refresh_token":"a.b.c"}`))
	c := newClient(t, f.URL, withEntra(always("entra-1")))
	if err := listTags(t, c, "r"); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "must not go") {
		t.Errorf("got %v, want a refusal", err)
	}
	if got := elsewhere.requests(); len(got) != 0 {
		t.Errorf("the other host was asked %v", got)
	}
	if got := f.count("POST "); got != 0 {
		t.Errorf("the token was exchanged %d times for a realm elsewhere", got)
	}

	for _, row := range []struct {
		endpoint, realm string
		ok              bool
	}{
		{"https://r.example", "https://r.example/oauth2/token", true},
		{"https://r.example", "https://r.example:443/oauth2/token", true},
		{"https://r.example", "https://r.example:8443/oauth2/token", false},
		{"https://r.example", "http://r.example/oauth2/token", false},
		{"https://r.example", "https://evil.example/oauth2/token", false},
		{"http://lan.example", "http://lan.example/oauth2/token", false}, // even with PlainHTTP
		{"http://127.0.0.1:5000", "http://127.0.0.1:5000/oauth2/token", true},
		{"http://127.0.0.1:5000", "http://127.0.0.1:6000/oauth2/token", false},
	} {
		l := &logins{endpoint: parsed(t, row.endpoint)}
		if problem := l.checkEntra(parsed(t, row.realm)); (problem == "") != row.ok {
			t.Errorf("%s -> %s: got %q, want ok %v", row.endpoint, row.realm, problem, row.ok)
		}
	}
}

func TestRedirectedExchangeGetsNoToken(t *testing.T) {
	e, evil := newExchanging(t), newFake(t)
	evil.on("POST /steal", reply(200, `{"refresh_token":"a.b.c"}`))
	e.on("POST /oauth2/exchange", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, evil.URL+"/steal", http.StatusTemporaryRedirect)
	})
	if _, err := collect(newClient(t, e.URL, withEntra(always("entra-1"))).Repositories(t.Context())); err == nil {
		t.Error("no error")
	}
	if got := evil.requests(); len(got) != 0 {
		t.Errorf("the redirect was followed: %v", got)
	}
}

func TestFailingIdentityIsDeniedInOneLine(t *testing.T) {
	e := newExchanging(t)
	page := errors.New("AzureCLICredential: ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 1-2-3\nmore\n\tlines")
	_, err := collect(newClient(t, e.URL, withEntra(tokensFunc(func(string) (azcore.AccessToken, error) {
		return azcore.AccessToken{}, page
	}))).Repositories(t.Context()))
	want := "list repositories: log in to " + e.url().Host + ": no token from Microsoft Entra: AADSTS700082: The refresh token has expired due to inactivity."
	if !errors.Is(err, ErrDenied) || !errors.Is(err, page) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestIdentityOutOfReachIsNotARefusal: cached content is served on the former, and
// nobody goes looking for rights.
func TestIdentityOutOfReachIsNotARefusal(t *testing.T) {
	e := newExchanging(t)
	for name, row := range map[string]struct{ cause, want error }{
		"no network":       {&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("network is unreachable")}, ErrUnavailable},
		"no name":          {&net.DNSError{Err: "server misbehaving", Name: "login.example", IsTemporary: true}, ErrUnavailable},
		"said by a source": {fmt.Errorf("%w: 503", ErrUnavailable), ErrUnavailable},
		"refused":          {errors.New("AADSTS7000215: Invalid client secret provided."), ErrDenied},
	} {
		_, err := collect(newClient(t, e.URL, withEntra(tokensFunc(func(string) (azcore.AccessToken, error) {
			return azcore.AccessToken{}, row.cause
		}))).Repositories(t.Context()))
		if !errors.Is(err, row.want) || errors.Is(err, ErrDenied) != (row.want == ErrDenied) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
		var ours *Error
		if !errors.As(err, &ours) || ours.Silent == errors.Is(err, ErrDenied) {
			t.Errorf("%s: got %+v; out of reach is silence, and a refusal is none", name, ours)
		}
	}
	late := &entraError{cause: context.DeadlineExceeded, late: true}
	if got := kindOfEntra(late); got != ErrTimeout {
		t.Errorf("late: got %v, want ErrTimeout", got)
	}
}

func TestPerRepositoryIsSeenByTheRefreshToken(t *testing.T) {
	e := newExchanging(t)
	for claims, abac := range map[string]bool{`{"exp":4102444800}`: false, `{"exp":4102444800,"aad_identity":"x"}`: true} {
		refreshToken := jwt(claims)
		e.on("POST /oauth2/exchange", reply(200, fmt.Sprintf(`{"refresh_token":%q}`, refreshToken)))
		for name, credential := range map[string]func(*Config){
			"an identity":  withEntra(always("entra-1")),
			"az acr login": withCredential(Credential{Username: nullGUIDUser, Password: refreshToken}),
		} {
			c := newClient(t, e.URL, credential)
			if _, err := collect(c.Repositories(t.Context())); err != nil || c.PerRepository() != abac {
				t.Errorf("%s: got %v, %v; want %v", name, c.PerRepository(), err, abac)
			}
		}
	}
}

func TestIdentityTellsWhoseTokenItIs(t *testing.T) {
	for claims, want := range map[string]string{
		`{"upn":"alice@contoso.com","appid":"` + azureCLI + `"}`: "alice@contoso.com of the Azure CLI",
		`{"unique_name":"bob"}`:                                  "bob",
		`{"appid":"0a1b","oid":"2c3d"}`:                          "application 0a1b",
		`{"oid":"2c3d"}`:                                         "object 2c3d",
		`{}`:                                                     "",
		`{"upn":"two\nlines","appid":"something"}`:               "two lines",
	} {
		if got, err := NewEntra(always(jwt(claims)), "").Identity(t.Context()); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", claims, got, err, want)
		}
	}
	var scope string
	entra := NewEntra(tokensFunc(func(s string) (azcore.AccessToken, error) { scope = s; return always("opaque")(s) }), "https://own.example/")
	if got, err := entra.Identity(t.Context()); got != "" || err != nil || scope != "https://own.example/.default" {
		t.Errorf("got %q, %v, scope %q", got, err, scope)
	}
}

// A helper may take a moment to answer, and a walk asks for many scopes.
func TestSourceIsAskedOnceForManyScopesAndAgainWhenRefused(t *testing.T) {
	a := newAzure(t)
	for _, repo := range []string{"a", "b", "c"} {
		a.guard("GET /acr/v1/"+repo+"/_tags", "repository:"+repo+":metadata_read", reply(200, `{"tags":null}`))
	}
	var mu sync.Mutex
	asked, current := 0, "old"
	valid := "old"
	a.grant = func(form url.Values) bool {
		mu.Lock()
		defer mu.Unlock()
		return form.Get("refresh_token") == valid
	}
	c := newClient(t, a.URL, func(cfg *Config) {
		cfg.Credentials = credentialFunc(func() (Credential, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return Credential{IdentityToken: current}, nil
		})
	})
	for _, repo := range []string{"a", "b"} {
		if err := listTags(t, c, repo); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("the source was asked %d times for two scopes, want once", asked)
	}
	mu.Lock()
	current, valid = "new", "new" // az acr login ran, and the old one ended
	mu.Unlock()
	if err := listTags(t, c, "c"); err != nil {
		t.Errorf("after a new login: %v", err)
	}
	if asked != 2 {
		t.Errorf("the source was asked %d times, want again after the refusal", asked)
	}
}
