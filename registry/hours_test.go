package registry_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/acrfs/acrfs/registry"
	"github.com/acrfs/acrfs/registry/localacr"
)

// inside leads to a registry without sockets, which a fake clock cannot wait
// for, as if it were contoso.azurecr.io.
type inside struct{ server http.Handler }

func (i inside) Do(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.TLS, in.RemoteAddr, in.RequestURI = &tls.ConnectionState{}, "192.0.2.1:1", req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	i.server.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// entraToken is what Microsoft Entra gives for an hour.
func entraToken() string {
	claims := fmt.Sprintf(`{"aud":"https://containerregistry.azure.net","oid":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

type entra struct{ given *int }

func (e entra) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	*e.given++
	return azcore.AccessToken{Token: entraToken(), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// acrLogin is the docker configuration of someone who runs az acr login every
// two hours.
type acrLogin struct {
	*inside
	given   *int
	current string
	at      time.Time
}

func (a *acrLogin) Credential(ctx context.Context) (registry.Credential, error) {
	if time.Since(a.at) > 2*time.Hour {
		form := url.Values{"grant_type": {"access_token"}, "service": {"contoso.azurecr.io"}, "access_token": {entraToken()}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://contoso.azurecr.io/oauth2/exchange", strings.NewReader(form.Encode()))
		if err != nil {
			return registry.Credential{}, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := a.Do(req)
		if err != nil {
			return registry.Credential{}, err
		}
		var answer struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return registry.Credential{}, err
		}
		*a.given++
		a.current, a.at = answer.RefreshToken, time.Now()
	}
	return registry.Credential{IdentityToken: a.current}, nil
}

// openInside opens a registry with samples and a client of it, both until the
// test ends, and lets the client in.
func openInside(t *testing.T, root string, auth localacr.AuthMode, source func(inside) registry.CredentialSource) (*localacr.Server, *registry.Client) {
	t.Helper()
	server, err := localacr.Open(localacr.Config{Root: root, Auth: auth, DirectBlobs: true,
		Users: []localacr.User{{Name: "ci", Passwords: []string{"hunter2"}, Admin: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := server.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := registry.New(registry.Config{Endpoint: "contoso.azurecr.io", Transport: inside{server}, Credentials: source(inside{server})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server, c
}

// tokens is how often the registry was asked for an access token, or for what
// else is given for a form.
func tokens(server *localacr.Server, at localacr.Endpoint) int64 {
	return server.Stats().Requests[localacr.Operation{Method: http.MethodPost, Endpoint: at}]
}

// A token that would end on the way is not sent: it is renewed when a tenth of
// its life is left, or a minute.
func TestTokenIsRenewedALittleBeforeItsEnd(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		server, c := openInside(t, root, localacr.AuthAnonymous, func(inside) registry.CredentialSource { return nil })
		begin := tokens(server, localacr.EndpointToken) // good for five minutes
		time.Sleep(4*time.Minute + 29*time.Second)
		all(t, c.Repositories(t.Context()))
		if got := tokens(server, localacr.EndpointToken) - begin; got != 0 {
			t.Errorf("got %d new tokens 31 s before the end of the old one", got)
		}
		time.Sleep(2 * time.Second)
		all(t, c.Repositories(t.Context()))
		if got := tokens(server, localacr.EndpointToken) - begin; got != 1 {
			t.Errorf("got %d new tokens 29 s before the end of the old one, want 1", got)
		}
	})
}

// A mount lives for hours, and its tokens do not: the registry's access tokens
// 60 minutes, its refresh tokens 3 hours, those of anonymous callers 5 minutes.
// All are renewed before their end, so that nothing is ever refused, and not
// much earlier.
func TestTenHoursOfReadingOutliveEveryToken(t *testing.T) {
	for name, row := range map[string]struct {
		auth        localacr.AuthMode
		credentials func(at inside, given *int) registry.CredentialSource
		credential  [2]int // least and most asked of the source
		exchanges   [2]int64
		tokens      [2]int64
	}{
		"Microsoft Entra": {localacr.AuthOpen, func(_ inside, given *int) registry.CredentialSource {
			return registry.StaticCredential(registry.Credential{Entra: registry.NewEntra(entra{given}, "")})
		}, [2]int{3, 5}, [2]int64{3, 5}, [2]int64{20, 24}},
		"az acr login": {localacr.AuthOpen, func(at inside, given *int) registry.CredentialSource {
			return &acrLogin{inside: &at, given: given}
		}, [2]int{4, 6}, [2]int64{4, 6}, [2]int64{20, 24}},
		"password": {localacr.AuthBasic, func(inside, *int) registry.CredentialSource {
			return registry.StaticCredential(registry.Credential{Username: "ci", Password: "hunter2"})
		}, [2]int{}, [2]int64{}, [2]int64{20, 24}},
		"anonymous": {localacr.AuthAnonymous, func(inside, *int) registry.CredentialSource { return nil },
			[2]int{}, [2]int64{}, [2]int64{180, 204}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				given := 0
				server, c := openInside(t, root, row.auth, func(at inside) registry.CredentialSource { return row.credentials(at, &given) })
				body, _, err := c.Manifest(t.Context(), registry.Ref{Repository: "library/hello-world", Tag: "zstd"})
				if err != nil {
					t.Fatal(err)
				}
				layer := layersOf(t, body)[0]
				first := server.Stats()
				for minute := int64(0); minute < 600; minute += 3 {
					all(t, c.Repositories(t.Context()))
					r, err := c.OpenBlob(t.Context(), "library/hello-world", layer.Digest, minute%layer.Size, 1)
					if err == nil {
						_, err = io.ReadAll(r)
						r.Close()
					}
					if err != nil {
						t.Fatalf("in minute %d: %v", minute, err)
					}
					time.Sleep(3 * time.Minute)
				}
				last := server.Stats()
				if refused := last.Statuses[401] - first.Statuses[401]; refused != 0 {
					t.Errorf("%d requests were refused: a token was not renewed in time", refused)
				}
				between := func(what string, got, least, most int64) {
					t.Helper()
					if got < least || got > most {
						t.Errorf("%d %s in ten hours, want %d to %d", got, what, least, most)
					}
				}
				between("tokens of Microsoft Entra or logins", int64(given), int64(row.credential[0]), int64(row.credential[1]))
				between("refresh tokens", tokens(server, localacr.EndpointExchange), row.exchanges[0], row.exchanges[1])
				between("access tokens", tokens(server, localacr.EndpointToken), row.tokens[0], row.tokens[1])
			})
		})
	}
}
