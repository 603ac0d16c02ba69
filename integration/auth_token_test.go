package integration

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/acrfs/acrfs/integration/fixture"
)

// tokenService signs tokens that distribution checks, as Docker's own service
// and most registries' do: by GET with Basic, or by POST with an identity
// token.
type tokenService struct {
	registry http.Handler
	key      *rsa.PrivateKey
	life     time.Duration
	forGet   string // the field that a token by GET comes in
	withLife bool   // expires_in is told

	mu       sync.Mutex // guards what follows
	identity string     // the identity token that is good now
	asked    []string   // method and scope of each token
}

const tokenIssuer = "the token service"

// newTokenDistribution starts distribution with token auth.
func newTokenDistribution(t *testing.T, edit func(*tokenService)) (*server, *tokenService) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"one","n":%q,"e":%q}]}`,
		enc(key.N.Bytes()), enc(big.NewInt(int64(key.E)).Bytes()))
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(jwks), 0o600); err != nil {
		t.Fatal(err)
	}
	s := listen(t, "distribution with tokens")
	s.auth = &authn.Basic{Username: username, Password: password}
	service := &tokenService{key: key, life: time.Minute, forGet: "token", withLife: true, identity: "identity-1"}
	edit(service)
	service.registry = openDistribution(t, configuration.Auth{"token": {
		// A path that is not Azure's, with a query of its own.
		"realm": s.url + "/auth?account=x", "service": "a, service", "issuer": tokenIssuer, "jwks": file,
	}})
	s.serve(service)
	return s, service
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/auth" {
		s.registry.ServeHTTP(w, r)
		return
	}
	r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	user, pass, _ := r.BasicAuth()
	known := user == username && pass == password
	if r.Method == http.MethodPost {
		known = r.PostForm.Get("grant_type") == "refresh_token" && r.PostForm.Get("refresh_token") == s.identity
	}
	if !known || r.Form.Get("service") != "a, service" {
		http.Error(w, `{"details":"incorrect username or password"}`, http.StatusUnauthorized)
		return
	}
	s.asked = append(s.asked, r.Method+" "+strings.Join(r.Form["scope"], " "))
	answer := map[string]any{s.forGet: s.mint(r.Form["scope"])}
	if r.Method == http.MethodPost {
		answer = map[string]any{"access_token": s.mint(r.Form["scope"])}
	}
	if s.withLife {
		answer["expires_in"] = int(s.life.Seconds())
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// mint signs a token for all that is asked.
func (s *tokenService) mint(scopes []string) string {
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	granted := []access{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		parts := strings.Split(scope, ":")
		granted = append(granted, access{parts[0], parts[1], strings.Split(parts[2], ",")})
	}
	now := time.Now()
	payload, err := json.Marshal(map[string]any{"iss": tokenIssuer, "sub": username, "aud": "a, service",
		"exp": now.Add(s.life).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "jti": "x", "access": granted})
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"typ":"JWT","alg":"RS256","kid":"one"}`)) + "." + enc(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + enc(signature)
}

// TestMountWithTokensOfADistribution reads a registry that wants tokens of a
// service, in each way that services answer.
func TestMountWithTokensOfADistribution(t *testing.T) {
	for name, edit := range map[string]func(*tokenService){
		"token":                   func(*tokenService) {},
		"access_token":            func(s *tokenService) { s.forGet = "access_token" },
		"without expires_in":      func(s *tokenService) { s.withLife = false },
		"that live for a second ": func(s *tokenService) { s.life = time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			s, service := newTokenDistribution(t, edit)
			index := fixture.MultiArch("1")
			push(t, s, "team/app", "v1", index)
			m := mountWith(t, s, mountOptions{env: []string{"ACRFS_USERNAME=" + username, "ACRFS_PASSWORD=" + password}})
			checkArtifact(t, m.tagDir("team/app", "v1"), index)
			if entries, err := os.ReadDir(m.path("team")); err != nil || len(entries) != 1 {
				t.Errorf("the catalog: %v, %v", entries, err)
			}
			m.unmount()
			service.mu.Lock()
			defer service.mu.Unlock()
			for _, scope := range []string{"GET repository:team/app:pull", "GET registry:catalog:*"} {
				if !slices.Contains(service.asked, scope) {
					t.Errorf("no token for %q among %q", scope, service.asked)
				}
			}
		})
	}
}

// TestMountFollowsADockerLogin mounts with the identity token that docker
// login left, and goes on with the next one when that one ends.
func TestMountFollowsADockerLogin(t *testing.T) {
	s, service := newTokenDistribution(t, func(s *tokenService) { s.life = time.Second })
	first, second := fixture.MultiArch("1"), fixture.MultiArch("2")
	push(t, s, "one", "v1", first)
	push(t, s, "two", "v1", second)
	home := t.TempDir()
	logIn := func(identity string) {
		config := fmt.Sprintf(`{"auths":{%q:{"auth":"PHRva2VuPjo=","identitytoken":%q}}}`, s.host(), identity)
		if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logIn("identity-1")
	m := mountWith(t, s, mountOptions{env: []string{"DOCKER_CONFIG=" + home, "ACRFS_USERNAME=", "ACRFS_PASSWORD="}})
	if said := m.output.String(); !strings.Contains(said, "docker login in "+home+"/config.json") {
		t.Errorf("it does not say which login it uses:\n%s", said)
	}
	checkArtifact(t, m.tagDir("one", "v1"), first)

	service.mu.Lock()
	service.identity = "identity-2"
	service.mu.Unlock()
	logIn("identity-2")
	checkArtifact(t, m.tagDir("two", "v1"), second)
	m.unmount()
	if strings.Contains(m.output.String(), "identity-") {
		t.Error("the identity token is in the log")
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	if !slices.Contains(service.asked, "POST repository:two:pull") {
		t.Errorf("got tokens for %q", service.asked)
	}
}
