package localacr_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// issuerKeys are made once: one whose public half the registry is given, and
// one that it does not know.
var issuerKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// signed makes a token as Entra does. Claims override the good ones.
func signed(t testing.TB, key *rsa.PrivateKey, header string, claims map[string]any) string {
	t.Helper()
	all := map[string]any{
		"aud": "https://containerregistry.azure.net", "iss": "https://sts.windows.net/tenant/",
		"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Add(-time.Minute).Unix(),
		"oid": "object", "appid": "application", "tid": "tenant",
	}
	for name, value := range claims {
		all[name] = value
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(header)) + "." + enc(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + enc(signature)
}

const goodHeader = `{"alg":"RS256","kid":"known"}`

// trusting is a registry that takes the first issuer key.
func trusting(t testing.TB, users ...localacr.User) *rig {
	return start(t, localacr.Config{Auth: localacr.AuthEntra, Users: users, Entra: localacr.Entra{
		Issuer: "https://sts.windows.net/tenant/",
		Keys: func(_ context.Context, id string) (*rsa.PublicKey, error) {
			if id != "known" {
				return nil, errors.New("no such key")
			}
			return &issuerKeys()[0].PublicKey, nil
		},
	}})
}

func (r *rig) exchangeForm(token string) url.Values {
	return url.Values{"grant_type": {"access_token"}, "service": {r.host}, "access_token": {token}}
}

func (r *rig) accessToken(refresh, scope string) string {
	r.Helper()
	return r.login("token", url.Values{"grant_type": {"refresh_token"}, "service": {r.host}, "refresh_token": {refresh}, "scope": {scope}}).tokenIn("access_token")
}

func TestEntraTokensAreChecked(t *testing.T) {
	r, keys := trusting(t), issuerKeys()
	good := signed(t, keys[0], goodHeader, nil)
	refresh := r.login("exchange", r.exchangeForm(good)).tokenIn("refresh_token")
	if c := payload(t, refresh); c["sub"] != "object" || c["appid"] != "application" || c["aad_identity"] != nil {
		t.Error(c)
	}
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+r.accessToken(refresh, "registry:catalog:*")).want(200)
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+good).want(401)

	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"expired":             signed(t, keys[0], goodHeader, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
		"not yet valid":       signed(t, keys[0], goodHeader, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"for somebody else":   signed(t, keys[0], goodHeader, map[string]any{"aud": "https://vault.azure.net"}),
		"of another tenant":   signed(t, keys[0], goodHeader, map[string]any{"iss": "https://sts.windows.net/other/"}),
		"by another key":      signed(t, keys[1], goodHeader, nil),
		"by an unknown key":   signed(t, keys[1], `{"alg":"RS256","kid":"other"}`, nil),
		"signed by nobody":    strings.Join([]string{base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)), parts[1], ""}, "."),
		"with HS256 pretence": signed(t, keys[0], `{"alg":"HS256","kid":"known"}`, nil),
		"changed":             parts[0] + "." + strings.Split(signed(t, keys[1], goodHeader, map[string]any{"oid": "admin"}), ".")[1] + "." + parts[2],
		"nothing":             "",
	} {
		if got := r.login("exchange", r.exchangeForm(token)); got.status != 401 || got.body != "" {
			t.Errorf("a token %s: %d %q", name, got.status, got.body)
		}
	}
	// Nobody else gets in.
	r.raw("GET", "/v2/", "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("any:one"))).want(401)
	if got := r.login("token", url.Values{"grant_type": {"password"}, "service": {r.host}, "scope": {"repository:a:pull"}}); got.status != 401 {
		t.Errorf("anonymous: %d", got.status)
	}
}

func TestEntraIdentitiesHaveTheRightsOfTheirUser(t *testing.T) {
	r := trusting(t,
		localacr.User{Name: "reader", Entra: "object", Actions: []string{"repositories/team/*/metadata/read"}},
		localacr.User{Name: "builder", Entra: "other-application", Admin: true},
		localacr.User{Name: "late", Entra: "gone", Admin: true, Expires: time.Now().Add(-time.Hour)},
	)
	refreshOf := func(claims map[string]any) string {
		return r.login("exchange", r.exchangeForm(signed(t, issuerKeys()[0], goodHeader, claims))).tokenIn("refresh_token")
	}
	reader, builder := refreshOf(nil), refreshOf(map[string]any{"oid": "x", "appid": "other-application"})
	if c := payload(t, reader); c["aad_identity"] != "object" {
		t.Errorf("a registry with rights per repository says whose token it is: %v", c)
	}
	for _, row := range []struct {
		refresh, scope, granted string
	}{
		{reader, "repository:team/app:metadata_read", `[{"Actions":["metadata_read"],"Name":"team/app","Type":"repository"}]`},
		{reader, "repository:team/app:metadata_read,delete", `[{"Actions":["metadata_read"],"Name":"team/app","Type":"repository"}]`},
		{reader, "repository:other:metadata_read", `[]`},
		{reader, "registry:catalog:*", `[]`},
		{builder, "repository:other:delete", `[{"Actions":["delete"],"Name":"other","Type":"repository"}]`},
	} {
		granted, _ := json.Marshal(payload(t, r.accessToken(row.refresh, row.scope))["access"])
		if string(granted) != row.granted {
			t.Errorf("%s: got %s, want %s", row.scope, granted, row.granted)
		}
	}
	for _, claims := range []map[string]any{{"oid": "stranger", "appid": "strange"}, {"oid": "gone", "appid": "strange"}} {
		if got := r.login("exchange", r.exchangeForm(signed(t, issuerKeys()[0], goodHeader, claims))); got.status != 401 {
			t.Errorf("%v: an identity without a role got %d", claims, got.status)
		}
	}
}

func TestParseKeysTakesWhatEntraPublishesAndNothingWeak(t *testing.T) {
	n := base64.RawURLEncoding.EncodeToString(issuerKeys()[0].N.Bytes())
	set := fmt.Sprintf(`{"keys":[
		{"kty":"RSA","use":"sig","kid":"good","n":%q,"e":"AQAB","x5c":["MII"]},
		{"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"},
		{"kty":"RSA","kid":"one","n":%q,"e":"AQ"},
		{"kty":"EC","kid":"curve","x":"AA","y":"AA"}]}`, n, n)
	keys, err := localacr.ParseKeys([]byte(set))
	if err != nil || len(keys) != 1 || keys["good"].N.Cmp(new(big.Int).Set(issuerKeys()[0].N)) != 0 || keys["good"].E != 65537 {
		t.Errorf("got %v, %v", keys, err)
	}
	for _, bad := range []string{"", "[]", `{"keys":[]}`, `{"keys":[{"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"}]}`} {
		if _, err := localacr.ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q is no key set", bad)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"` + strings.Repeat("A", 342) + `","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := localacr.ParseKeys(text)
		for id, key := range keys {
			if err != nil || key.E < 3 || key.N.BitLen() < 2048 {
				t.Errorf("%q: %+v, %v", id, key, err)
			}
		}
	})
}

func TestEntraModeNeedsKeys(t *testing.T) {
	if _, err := localacr.Open(localacr.Config{Root: t.TempDir(), Auth: localacr.AuthEntra}); err == nil {
		t.Error("a registry that can let nobody in was opened")
	}
}
