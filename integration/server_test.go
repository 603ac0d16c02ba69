package integration

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/silly"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"

	"github.com/acrfs/acrfs/registry/localacr"
)

// server is a registry on loopback that a test pushes to and mounts.
type server struct {
	name string
	url  string // http://127.0.0.1:PORT
	gate *gate  // counts what is asked, and answers badly when told to

	// auth is what clients that push log in with. nil: anonymous.
	auth authn.Authenticator

	// acr says that it speaks ACR's own API: it keeps properties and times,
	// and lists manifests.
	acr bool

	http *httptest.Server
}

// host is how clients write the registry in a reference.
func (s *server) host() string { return strings.TrimPrefix(s.url, "http://") }

// onEveryServer runs one row of the suite against each server.
func onEveryServer(t *testing.T, row func(t *testing.T, s *server)) {
	t.Run("localacr", func(t *testing.T) { row(t, newLocalACR(t)) })
	t.Run("distribution", func(t *testing.T) { row(t, newDistribution(t)) })
}

// newLocalACR starts the product's own emulator.
func newLocalACR(t testing.TB) *server {
	t.Helper()
	return startLocalACR(t, localacr.Config{Root: t.TempDir()})
}

func startLocalACR(t testing.TB, config localacr.Config) *server {
	t.Helper()
	registry, err := localacr.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Errorf("close localacr: %v", err)
		}
	})
	s := listen(t, "localacr")
	s.acr = true
	s.serve(registry)
	return s
}

// newDistribution starts the OCI reference implementation.
//
// It challenges every request and lets every token in: the official ACR
// client, when nobody challenges it, sends its first upload without a body
// and takes the answer for success.
func newDistribution(t testing.TB) *server {
	t.Helper()
	s := listen(t, "distribution")
	silly := configuration.Auth{"silly": {"realm": s.url + "/oauth2/token", "service": s.host()}}
	s.serve(&tokenRealm{registry: openDistribution(t, silly)})
	return s
}

// newProtectedDistribution lets in one user, by Basic authentication, as
// registries do that have no token service.
func newProtectedDistribution(t testing.TB, username, password string) *server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, append([]byte(username+":"), hash...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := listen(t, "distribution")
	s.auth = &authn.Basic{Username: username, Password: password}
	s.serve(openDistribution(t, configuration.Auth{"htpasswd": {"realm": "test", "path": file}}))
	return s
}

func openDistribution(t testing.TB, who configuration.Auth, edit ...func(*configuration.Configuration)) *handlers.App {
	t.Helper()
	logrus.SetOutput(io.Discard)

	var config configuration.Configuration
	config.Storage = configuration.Storage{
		"filesystem":  {"rootdirectory": t.TempDir()},
		"delete":      {"enabled": true},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}
	config.Auth = who
	config.HTTP.RelativeURLs = true // the official ACR client follows no others
	config.HTTP.Secret = "the same for every process"
	config.Catalog.MaxEntries = 1000
	config.Validation.Manifests.URLs.Allow = []string{"^https://"}
	for _, e := range edit {
		e(&config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	app := handlers.NewApp(ctx, &config)
	t.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			t.Errorf("close distribution: %v", err)
		}
	})
	return app
}

// listen takes a loopback port, so that a registry can be told its address
// before it is made. Nothing is answered until serve.
func listen(t testing.TB, name string) *server {
	t.Helper()
	s := &server{name: name, http: httptest.NewUnstartedServer(nil)}
	s.url = "http://" + s.http.Listener.Addr().String()
	t.Cleanup(s.stop)
	return s
}

// serve puts handler behind a gate and starts answering.
func (s *server) serve(handler http.Handler) {
	s.gate = newGate(handler)
	s.http.Config.Handler = s.gate
	s.http.Start()
}

// stop takes the server off the network: connections are refused until start.
func (s *server) stop() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// start brings the server back on its old address.
func (s *server) start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", s.host())
	if err != nil {
		t.Fatalf("start %s again: %v", s.name, err)
	}
	s.http = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.gate}}
	s.http.Start()
}

// tokenRealm gives a token to whoever asks, the way ACR does and the way the
// distribution specification says, and leaves the rest to the registry.
type tokenRealm struct{ registry http.Handler }

func (r *tokenRealm) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path != "/oauth2/token" {
		r.registry.ServeHTTP(w, req)
		return
	}
	// {"alg":"none"}.{"exp":4102444800}: a JWT for clients that read it.
	const token = "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token": token, "expires_in": 3600})
}
