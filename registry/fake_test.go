package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// fake is a registry of hand-written answers. Routes are matched by method and
// escaped path, the longest prefix last.
type fake struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	routes map[string]http.HandlerFunc // "GET /v2/", guarded by mu
	seen   []*http.Request             // guarded by mu
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, routes: map[string]http.HandlerFunc{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r)
	handler := f.routes[r.Method+" "+r.URL.EscapedPath()]
	f.mu.Unlock()
	if handler == nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "404 page not found\n")
		return
	}
	handler(w, r)
}

func (f *fake) on(route string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[route] = h
}

// challenging answers whoever brings a token, of whatever kind, and sends others
// to the fake's own /token.
func (f *fake) challenging(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, r)
	}
}

// requests that arrived, as "METHOD path?query".
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, r := range f.seen {
		lines = append(lines, r.Method+" "+r.URL.RequestURI())
	}
	return lines
}

func (f *fake) count(prefix string) int {
	n := 0
	for _, line := range f.requests() {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// headers returns a header of every request whose line begins with prefix.
func (f *fake) headers(prefix, name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var values []string
	for _, r := range f.seen {
		if strings.HasPrefix(r.Method+" "+r.URL.RequestURI(), prefix) {
			values = append(values, r.Header.Get(name))
		}
	}
	return values
}

func (f *fake) url() *url.URL {
	u, err := url.Parse(f.URL)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

// elsewhere is the same server under another host name.
func (f *fake) elsewhere() string { return strings.Replace(f.URL, "127.0.0.1", "localhost", 1) }

// reply answers with a literal body.
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			io.WriteString(w, body)
		}
	}
}

// inTurn answers with one handler after the other, and stays at the last.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	next := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(next, len(handlers)-1)]
		next++
		mu.Unlock()
		h(w, r)
	}
}

// cut breaks the connection without an answer.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func errorBody(code, message string) string {
	return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`+"\n", code, message)
}

// newPlain is a plain OCI registry without access control.
func newPlain(t *testing.T) *fake {
	t.Helper()
	f := newFake(t)
	f.on("GET /v2/", reply(200, "{}", "Docker-Distribution-Api-Version", "registry/2.0"))
	return f
}

// azure adds Azure's access control to a fake: every route is guarded by the
// scope that it has on ACR.
type azure struct {
	*fake
	storage *fake

	mu     sync.Mutex
	issued int
	forms  []url.Values // of token requests, guarded by mu
	life   time.Duration
	grant  func(form url.Values) bool
	anon   bool                    // everyone is anonymous: all get the pull of everything, which serves metadata too
	may    func(scope string) bool // which of the scopes asked for are granted
}

// notEverywhere grants what is asked of one repository, as registries do that
// give rights per repository.
func notEverywhere(scope string) bool { return !strings.Contains(scope, ":*:") }

func newAzure(t *testing.T) *azure {
	t.Helper()
	a := &azure{fake: newFake(t), storage: newFake(t), life: time.Hour, grant: func(url.Values) bool { return true }, may: notEverywhere}
	a.on("POST /oauth2/token", a.issue)
	a.guard("GET /v2/", "", reply(200, "{}", "Docker-Distribution-Api-Version", "registry/2.0"))
	a.guard("GET /acr/v1/_catalog", "registry:catalog:*", reply(200, `{"repositories":["base","team/app"]}`+"\n"))
	return a
}

func (a *azure) issue(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	a.mu.Lock()
	a.issued++
	serial := a.issued
	a.forms = append(a.forms, r.PostForm)
	a.mu.Unlock()
	if !a.grant(r.PostForm) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	type access struct {
		Type, Name string
		Actions    []string
	}
	granted := []access{}
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if parts := strings.Split(scope, ":"); len(parts) == 3 && a.may(scope) {
			granted = append(granted, access{parts[0], parts[1], strings.Split(parts[2], ",")})
		}
	}
	who := "somebody"
	if a.anon {
		who, granted = "acr_anon_pull", []access{{"repository", "*", []string{"pull"}}, {"registry", "catalog", []string{"*"}}}
	}
	list, _ := json.Marshal(granted)
	claims := fmt.Sprintf(`{"exp":%d,"sub":%q,"access":%s,"jti":"%d"}`, time.Now().Add(a.life).Unix(), who, list, serial)
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	fmt.Fprintf(w, `{"access_token":%q}`+"\n", token)
}

func (a *azure) guard(route, scope string, h http.HandlerFunc) {
	a.on(route, func(w http.ResponseWriter, r *http.Request) {
		served := scope
		if a.anon {
			served = strings.Replace(scope, "metadata_read", "pull", 1)
		}
		if a.allows(r.Header.Get("Authorization"), served) {
			h(w, r)
			return
		}
		challenge := fmt.Sprintf(`Bearer realm="%s/oauth2/token",service="%s"`, a.URL, a.url().Host)
		if scope != "" {
			challenge += fmt.Sprintf(`,scope="%s"`, scope)
		}
		switch sent := r.Header.Get("Authorization"); {
		case sent == "":
		case a.allows(sent, ""):
			challenge += `,error="insufficient_scope"`
		default:
			challenge += `,error="invalid_token"`
		}
		reply(401, errorBody("UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization for more information."),
			"WWW-Authenticate", challenge)(w, r)
	})
}

func (a *azure) allows(header, scope string) bool {
	parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	if len(parts) != 3 {
		return false
	}
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Access []struct {
			Type, Name string
			Actions    []string
		}
	}
	json.Unmarshal(text, &claims)
	kind, rest, _ := strings.Cut(scope, ":")
	name, action, _ := strings.Cut(rest, ":")
	for _, g := range claims.Access {
		if g.Type == kind && (g.Name == name || g.Name == "*") && slices.Contains(g.Actions, action) {
			return true
		}
	}
	return scope == ""
}

func (a *azure) tokenForms() []url.Values {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.forms)
}

// blob serves content the way Azure does: the registry redirects to storage
// under another host name, which refuses Authorization.
func (a *azure) blob(repo string, content []byte) digest.Digest {
	d := digest.FromBytes(content)
	a.guard("GET /v2/"+repo+"/blobs/"+d.String(), pullScope(repo), func(w http.ResponseWriter, r *http.Request) {
		signed := a.storage.elsewhere() + "/data/" + d.Encoded() + "?se=" + url.QueryEscape(time.Now().Add(20*time.Minute).UTC().Format(time.RFC3339)) + "&sig=verysecret%2Bsignature"
		w.Header().Set("Docker-Content-Digest", d.String())
		http.Redirect(w, r, signed, http.StatusTemporaryRedirect)
	})
	a.storage.on("GET /data/"+d.Encoded(), func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.Query().Get("sig") != "verysecret+signature" {
			reply(400, "<?xml version=\"1.0\"?><Error><Code>InvalidAuthenticationInfo</Code><Message>no</Message></Error>", "Content-Type", "application/xml")(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	return d
}

// newClient makes a client of a fake that does not really wait between tries.
func newClient(t *testing.T, endpoint string, edit ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{Endpoint: endpoint, MetadataTimeout: 10 * time.Second, StallTimeout: 10 * time.Second}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.retry.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	t.Cleanup(func() { c.Close() })
	return c
}

func withCredential(credential Credential) func(*Config) {
	return func(cfg *Config) { cfg.Credentials = StaticCredential(credential) }
}

func logTo(w io.Writer) func(*Config) {
	return func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

// collect drains a listing.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func mustRead(t *testing.T, c *Client, repo string, d digest.Digest, off, n int64) []byte {
	t.Helper()
	r, err := c.OpenBlob(t.Context(), repo, d, off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
