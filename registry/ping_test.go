package registry

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestPingSaysWhatWouldBeRight(t *testing.T) {
	https := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(https.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := listener.Addr().String()
	listener.Close()
	web := newFake(t)
	for _, route := range []string{"GET /acr/v1/_catalog", "GET /v2/"} {
		web.on(route, reply(200, "<html>welcome", "Content-Type", "text/html"))
	}
	plain, moved := newPlain(t), newFake(t)
	for _, route := range []string{"GET /acr/v1/_catalog", "GET /v2/"} {
		moved.on(route, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusMovedPermanently)
		})
	}
	refused := newAzure(t)
	refused.grant = func(url.Values) bool { return false }
	for name, row := range map[string]struct {
		endpoint string
		want     error
		says     string
	}{
		"http to https": {strings.Replace(https.URL, "https", "http", 1), ErrUnavailable, "write https://"},
		"https to http": {strings.Replace(plain.URL, "http", "https", 1), ErrUnavailable, "write http://"},
		"unknown CA":    {https.URL, ErrUnavailable, "certificate"},
		"nobody there":  {"http://" + dead, ErrUnavailable, "refused"},
		"unknown host":  {"https://no-such-host.invalid", ErrUnavailable, ""},
		"a web site":    {web.URL, ErrUnsupported, "not a container registry"},
		"nothing there": {newFake(t).URL, ErrUnsupported, "not a container registry"},
		"moved":         {moved.URL, ErrUnavailable, "write " + plain.URL},
		"refused":       {refused.URL, ErrDenied, "credentials refused"},
	} {
		t.Run(name, func(t *testing.T) {
			err := newClient(t, row.endpoint, withCredential(Credential{Username: "u", Password: "p"})).Ping(t.Context())
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v; want %v saying %q", err, row.want, row.says)
			}
			if strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "ask ") > 1 {
				t.Errorf("not one clear line: %v", err)
			}
		})
	}
}

func TestPingOfANameThatIsNotThere(t *testing.T) {
	nowhere := transportFunc(func(r *http.Request) (*http.Response, error) {
		return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
	})
	for endpoint, want := range map[string]string{
		"contoso":           "ask contoso: there is no host contoso; check the name, or write contoso.azurecr.io",
		"contos.azurecr.io": "ask contos.azurecr.io: there is no host contos.azurecr.io; check the name",
	} {
		err := newClient(t, endpoint, func(c *Config) { c.Transport = nowhere }).Ping(t.Context())
		if !errors.Is(err, ErrUnavailable) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPingAcceptsRegistries(t *testing.T) {
	a := newAzure(t)
	if err := newClient(t, a.URL).Ping(t.Context()); err != nil {
		t.Errorf("azure: %v", err)
	}
	hub := newFake(t) // /v2/ challenges for a repository that nobody has
	hub.on("GET /v2/", reply(401, "", "WWW-Authenticate", `Bearer realm="`+hub.URL+`/token",service="hub",scope="repository:user/image:pull"`))
	hub.on("GET /token", reply(200, `{"token":"x"}`))
	if err := newClient(t, hub.URL).Ping(t.Context()); err != nil {
		t.Errorf("public registry: %v", err)
	}
}

// TestPingFetchesTheTokenOfTheCatalog on plain registries too, where a service may
// refuse it to those who may not list.
func TestPingFetchesTheTokenOfTheCatalog(t *testing.T) {
	for name, row := range map[string]struct {
		refused string // what the scopes begin with that the service refuses
		tokens  int    // asked for until the repositories are listed
		ping    error
		list    error
	}{
		"granted": {"no such scope", 1, nil, nil},
		"refused": {catalogScope, 2, nil, ErrDenied}, // and not asked for again at once
		"no one":  {"", 2, ErrDenied, ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlain(t)
			guard := f.challenging(reply(200, `{"repositories":["a"]}`))
			f.on("GET /v2/", guard)
			f.on("GET /v2/_catalog", guard)
			f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Query().Get("scope"), row.refused) {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				reply(200, `{"token":"x","expires_in":300}`)(w, r)
			})
			c := newClient(t, f.URL)
			if err := c.Ping(t.Context()); !errors.Is(err, row.ping) {
				t.Errorf("ping: got %v, want %v", err, row.ping)
			}
			var err error
			for _, err = range c.Repositories(t.Context()) {
			}
			if !errors.Is(err, row.list) {
				t.Errorf("list: got %v, want %v", err, row.list)
			}
			if got := f.count("GET /token"); got != row.tokens {
				t.Errorf("asked for %d tokens, want %d", got, row.tokens)
			}
		})
	}
}

func TestDialectIsFoundOnceAndAgainAfterFailure(t *testing.T) {
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"plain text 404":   {reply(404, "404 page not found\n"), "oci"},
		"405":              {reply(405, ""), "oci"},
		"web page":         {reply(200, "<html>", "Content-Type", "text/html"), "oci"},
		"other json":       {reply(200, `{"hello":"world"}`), "oci"},
		"open azure":       {reply(200, `{"repositories":null}`), "acr"},
		"challenge of all": {reply(401, "", "WWW-Authenticate", `Basic realm="x"`), "oci"},
	} {
		f := newPlain(t)
		f.on("GET /acr/v1/_catalog", inTurn(reply(503, ""), row.answer))
		c := newClient(t, f.URL, func(cfg *Config) { cfg.MaxRetries = -1 })
		if _, err := c.dialect(t.Context(), "test", false); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable at first", name, err)
		}
		for range 2 {
			if d, err := c.dialect(t.Context(), "test", false); err != nil || d.name() != row.want {
				t.Errorf("%s: got %v, %v; want %s", name, d, err, row.want)
			}
		}
		if got := f.count("GET /acr/v1/_catalog"); got > 3 {
			t.Errorf("%s: probed %d times", name, got)
		}
	}
}
