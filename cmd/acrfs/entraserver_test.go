package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// entraServer answers as Microsoft Entra does, over TLS: OpenID discovery, keys,
// the token endpoint for secrets and assertions, and the two kinds of managed
// identity endpoints that a machine in Azure has.
type entraServer struct {
	*httptest.Server
	t     *testing.T
	key   *rsa.PrivateKey
	caPEM []byte

	mu     sync.Mutex // guards all below
	life   time.Duration
	issued int
	refuse string // an AADSTS sentence; "" lets everyone in
}

// What the authority knows, all of which must stay secret.
const (
	tenantID       = "11111111-2222-3333-4444-555555555555"
	applicationID  = "66666666-7777-8888-9999-aaaaaaaaaaaa"
	clientSecret   = "the-client-secret~Q"
	clusterToken   = "eyJhbGciOiJSUzI1NiJ9.the-cluster-assertion.c2ln"
	identityHeader = "the-identity-header"
)

var authorityKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newEntraServer(t *testing.T) *entraServer {
	t.Helper()
	key, err := authorityKey()
	if err != nil {
		t.Fatal(err)
	}
	a := &entraServer{t: t, key: key, life: time.Hour}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+tenantID+"/v2.0/.well-known/openid-configuration", a.discover)
	mux.HandleFunc("GET /discovery/v2.0/keys", a.keys)
	mux.HandleFunc("POST /"+tenantID+"/oauth2/v2.0/token", a.token)
	a.Server = httptest.NewTLSServer(mux)
	t.Cleanup(a.Close)
	a.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	return a
}

// plain is the managed identity endpoints, which are http on a machine's own
// network.
func (a *entraServer) plain() string {
	mux := http.NewServeMux()
	give := func(w http.ResponseWriter, r *http.Request, ok bool) {
		if !ok || !strings.HasPrefix(r.FormValue("resource"), "https://containerregistry.azure.net") {
			http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
			return
		}
		token := a.mint(nil)
		fmt.Fprintf(w, `{"access_token":%q,"expires_on":"%d","expires_in":"3600","resource":"r","token_type":"Bearer"}`, token, time.Now().Add(time.Hour).Unix())
	}
	mux.HandleFunc("GET /msi/token", func(w http.ResponseWriter, r *http.Request) { // App Service
		give(w, r, r.Header.Get("X-Identity-Header") == identityHeader)
	})
	mux.HandleFunc("POST /cloudshell/token", func(w http.ResponseWriter, r *http.Request) { // Azure Cloud Shell
		give(w, r, r.Header.Get("Metadata") == "true")
	})
	server := httptest.NewServer(mux)
	a.t.Cleanup(server.Close)
	return server.URL
}

func (a *entraServer) discover(w http.ResponseWriter, _ *http.Request) {
	base := a.URL + "/" + tenantID
	json.NewEncoder(w).Encode(map[string]string{
		"issuer":                 base + "/v2.0",
		"authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"token_endpoint":         base + "/oauth2/v2.0/token",
		"jwks_uri":               a.URL + "/discovery/v2.0/keys",
	})
}

func (a *entraServer) keys(w http.ResponseWriter, _ *http.Request) {
	enc := base64.RawURLEncoding.EncodeToString
	json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "kid": "one",
		"n": enc(a.key.N.Bytes()), "e": enc(big.NewInt(int64(a.key.E)).Bytes()),
	}}})
}

func (a *entraServer) token(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	a.mu.Lock()
	refuse, life := a.refuse, a.life
	a.mu.Unlock()
	form := r.PostForm
	proved := form.Get("client_secret") == clientSecret || form.Get("client_assertion") == clusterToken
	switch {
	case refuse == "" && !proved:
		refuse = "AADSTS7000215: Invalid client secret provided. Trace ID: 1-2"
	case refuse == "" && !strings.Contains(form.Get("scope"), "/.default"):
		refuse = "AADSTS70011: The provided request must include a 'scope' input parameter."
	}
	w.Header().Set("Content-Type", "application/json")
	if refuse != "" {
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": refuse})
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": int(life.Seconds()), "access_token": a.mint(nil)})
}

// mint makes a token for the registry. claims override the usual ones.
func (a *entraServer) mint(claims map[string]any) string {
	a.mu.Lock()
	a.issued++
	serial, life := a.issued, a.life
	a.mu.Unlock()
	all := map[string]any{
		"aud": "https://containerregistry.azure.net", "iss": "https://sts.windows.net/" + tenantID + "/",
		"exp": time.Now().Add(life).Unix(), "nbf": time.Now().Add(-time.Minute).Unix(),
		"oid": "an-object", "appid": applicationID, "tid": tenantID, "uti": serial,
	}
	for name, value := range claims {
		all[name] = value
	}
	payload, err := json.Marshal(all)
	if err != nil {
		a.t.Error(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"typ":"JWT","alg":"RS256","kid":"one"}`)) + "." + enc(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, sum[:])
	if err != nil {
		a.t.Error(err)
	}
	return text + "." + enc(signature)
}

// azureRig is a registry that takes the authority's tokens, and what a mount
// needs to trust both.
type azureRig struct {
	*entraServer
	registry *process
	url      string
	trust    string // PEM file
}

func serveEntra(t *testing.T, flags ...string) *azureRig {
	t.Helper()
	a := newEntraServer(t)
	certs := t.TempDir()
	ca := filepath.Join(certs, "authority.pem")
	if err := os.WriteFile(ca, a.caPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	p, url := serveSeeded(t, append([]string{"--auth", "entra", "--tls-self-signed", certs, "--log-level", "debug",
		"--entra-keys", a.URL + "/discovery/v2.0/keys", "--entra-keys-ca", ca, "--entra-issuer", "https://sts.windows.net/" + tenantID + "/"}, flags...)...)
	own, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(certs, "both.pem")
	if err := os.WriteFile(trust, append(own, a.caPEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	return &azureRig{entraServer: a, registry: p, url: url, trust: trust}
}

// azureCLI puts a program called az into a directory of its own, which behaves
// like the Azure CLI of someone who is logged in, and returns the directory.
func (a *entraServer) azureCLI() string {
	answer := fmt.Sprintf(`{"accessToken":%q,"expires_on":%d,"tenant":%q}`,
		a.mint(map[string]any{"upn": "alice@contoso.com", "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}),
		time.Now().Add(time.Hour).Unix(), tenantID)
	return script(a.t, "az", `case "$*" in
"account get-access-token -o json --resource https://containerregistry.azure.net") echo '`+answer+`' ;;
*) echo "ERROR: az was called with $*" >&2; exit 2 ;;
esac`)
}

// script makes a shell script called name, and returns its directory.
func script(t *testing.T, name, body string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
