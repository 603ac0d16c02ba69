package localacr_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// login posts a form to a token endpoint.
func (r *rig) login(endpoint string, form url.Values, headers ...string) reply {
	r.Helper()
	return r.raw("POST", "/oauth2/"+endpoint, form.Encode(), append(headers, "Content-Type: application/x-www-form-urlencoded")...)
}

// tokenIn reads the one token of a login's answer.
func (got reply) tokenIn(field string) string {
	got.Helper()
	got.want(200).has("Content-Type: application/json; charset=utf-8", "Content-Length: ", "X-Ms-Ratelimit-Remaining-Calls-Per-Second: 166.650000")
	doc := map[string]string{}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || len(doc) != 1 || doc[field] == "" {
		got.Fatalf("%s: want %s and nothing else in %q", got.request, field, got.body)
	}
	return doc[field]
}

// payload decodes a token's claims with the standard alphabet, padded: what
// the official Go SDK does.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	part := strings.Split(token, ".")[1]
	data, err := base64.StdEncoding.DecodeString(part + strings.Repeat("=", (4-len(part)%4)%4))
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]any{}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// entra makes a token as Entra would, signed by nobody.
func entra(audience string, exp time.Time) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256"}`)) + "." + enc(fmt.Appendf(nil, `{"aud":%q,"exp":%d,"oid":"someone ☃ ?~","tid":"tenant"}`, audience, exp.Unix())) + ".c2ln"
}

// life is how long a token lasts from now.
func life(c map[string]any) time.Duration {
	return time.Until(time.Unix(int64(c["exp"].(float64)), 0)).Round(time.Minute)
}

// 3.1, 3.5: the whole flow, and what is in the tokens.
func TestExchange(t *testing.T) {
	r := start(t, localacr.Config{})
	form := url.Values{"grant_type": {"access_token"}, "service": {r.host}, "access_token": {entra("https://containerregistry.azure.net", time.Now().Add(time.Hour))}}
	refresh := r.login("exchange", form).tokenIn("refresh_token")
	c := payload(t, refresh)
	if life(c) != 3*time.Hour || c["exp"].(float64)-c["nbf"].(float64) != 11700 || c["grant_type"] != "refresh_token" ||
		c["iss"] != "Azure Container Registry" || c["aud"] != r.host || c["sub"] != "someone ☃ ?~" || c["version"] != "1.0" || len(c["rid"].(string)) != 32 {
		t.Error(c)
	}
	if permissions, _ := json.Marshal(c["permissions"]); string(permissions) != `{"Actions":["read","write","delete","deleted/read","deleted/restore/action"],"NotActions":null}` ||
		fmt.Sprint(c["roles"]) != "[]" || c["tenant"] != "tenant" || c["jti"] == "" || c["iat"] != c["nbf"] {
		t.Error(c)
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(refresh, ".")[0])
	if err != nil || !regexp.MustCompile(`^\{"alg":"RS256","typ":"JWT","kid":"[A-Z2-7]{4}(:[A-Z2-7]{4}){11}"\}$`).Match(header) {
		t.Errorf("header %s (%v)", header, err)
	}
	access := r.login("token", url.Values{"grant_type": {"refresh_token"}, "service": {r.host}, "refresh_token": {refresh}, "scope": {"repository:a/b:pull,push repository:c:delete", "registry:catalog:*"}}).tokenIn("access_token")
	c = payload(t, access)
	wantAccess := `[{"Actions":["pull","push"],"Name":"a/b","Type":"repository"},{"Actions":["delete"],"Name":"c","Type":"repository"},{"Actions":["*"],"Name":"catalog","Type":"registry"}]`
	if got, _ := json.Marshal(c["access"]); string(got) != wantAccess || life(c) != time.Hour || c["exp"].(float64)-c["nbf"].(float64) != 4500 {
		t.Errorf("%s\n%v", got, c)
	}
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+access).want(200)
	r.raw("GET", "/acr/v1/a/b", "", "Authorization: Bearer "+access).want(401)
	r.raw("GET", "/v2/", "", "Authorization: Bearer "+refresh).want(401)
	// 3.3: the actions' spelling of long ago.
	for old, action := range map[string]string{"metadataRead": "metadata_read", "metadataWrite": "metadata_write"} {
		c = payload(t, r.token("repository:a:"+old))
		if got, _ := json.Marshal(c["access"]); string(got) != `[{"Actions":["`+action+`"],"Name":"a","Type":"repository"}]` {
			t.Errorf("%s grants %s", old, got)
		}
	}
	// The way of az acr login: the null GUID and the token as a password.
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("00000000-0000-0000-0000-000000000000:"+refresh))).want(200)

	for name, token := range map[string]string{
		"expired": entra("https://containerregistry.azure.net", time.Now().Add(-time.Minute)),
		"not ACR": entra("https://graph.microsoft.com", time.Now().Add(time.Hour)),
		"no JWT":  "hello", "none": "",
	} {
		form.Set("access_token", token)
		if got := r.login("exchange", form); got.status != 401 || got.body != "" {
			t.Errorf("%s: %d %q", name, got.status, got.body)
		}
	}
	for name, token := range map[string]string{"an access token": access, "nonsense": "x.y.z", "none": "", "another signature": refresh[:len(refresh)-6] + "AAAAAA"} {
		if got := r.login("token", url.Values{"grant_type": {"refresh_token"}, "service": {r.host}, "refresh_token": {token}, "scope": {"repository:a:pull"}}); got.status != 401 || got.body != "" {
			t.Errorf("%s as a refresh token: %d %q", name, got.status, got.body)
		}
	}
}

// 3.6: anonymous pull.
func TestAnonymousMode(t *testing.T) {
	root := freshRoot(t)
	s, err := localacr.Open(localacr.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	open := serve(t, s)
	body := open.image("a", typeManifest, "x")
	d := open.pushManifest("a", "v1", typeManifest, body)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, localacr.Config{Root: root, Auth: localacr.AuthAnonymous, Users: []localacr.User{{Name: "boss", Passwords: []string{"secret"}, Admin: true}}})
	c := payload(t, r.token("repository:a:delete"))
	if access, _ := json.Marshal(c["access"]); string(access) != `[{"Actions":["pull"],"Name":"*","Type":"repository"}]` || c["sub"] != "acr_anon_pull" || life(c) != 5*time.Minute {
		t.Error(c)
	}
	r.do("GET", "/v2/a/manifests/v1", "", "Accept: "+typeManifest).says(200, body)
	r.fetch("a", localacr.DigestOf("", []byte("x"))).says(200, "x")
	for _, path := range []string{"/acr/v1/a", "/acr/v1/a/_tags", "/acr/v1/a/_manifests/" + d, "/acr/v1/_catalog", "/v2/a/tags/list", "/v2/"} {
		r.do("GET", path, "").want(200)
	}
	for _, op := range []string{"DELETE /acr/v1/a/_tags/v1", "PATCH /acr/v1/a", "POST /v2/a/blobs/uploads/", "DELETE /v2/a/manifests/" + d} {
		method, path, _ := strings.Cut(op, " ")
		if got := r.do(method, path, "{}").want(401); !strings.HasSuffix(got.header.Get("WWW-Authenticate"), `,error="insufficient_scope"`) {
			t.Errorf("%s: %s", op, got.header)
		}
	}
	r.login("exchange", url.Values{"grant_type": {"access_token"}, "access_token": {entra("https://containerregistry.azure.net", time.Now().Add(time.Hour))}}).says(401, "")
	r.raw("DELETE", "/acr/v1/a/_tags/v1", "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("boss:secret"))).want(202)
}

// 3.7: the admin and tokens with scope maps.
func TestBasicMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(path, []byte(`{"users":[
		{"name":"admin","passwords":["one","two"],"admin":true},
		{"name":"reader","passwords":["r"],"actions":["repositories/team/*/content/read","repositories/team/*/metadata/read"]},
		{"name":"lister","passwords":["l"],"actions":["repositories/*/metadata/read"]},
		{"name":"late","passwords":["x"],"expires":"2020-01-01T00:00:00Z","admin":true}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := localacr.ReadUsers(path)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, localacr.Config{Auth: localacr.AuthBasic, Users: users})
	basic := func(credentials string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	token := func(user, password, scope string) string {
		return r.login("token", url.Values{"grant_type": {"password"}, "service": {r.host}, "scope": {scope}, "username": {user}, "password": {password}}).tokenIn("access_token")
	}
	r.tokens["repository:team/app:*"] = token("admin", "two", "repository:team/app:*")
	body := r.image("team/app", typeManifest, "x")
	r.pushManifest("team/app", "v1", typeManifest, body)

	r.raw("GET", "/v2/team/app/manifests/v1", "", basic("reader:r"), "Accept: "+typeManifest).says(200, body)
	r.raw("GET", "/acr/v1/team/app/_tags", "", basic("reader:r")).want(200)
	r.raw("PUT", "/v2/team/app/manifests/v2", body, basic("reader:r"), "Content-Type: "+typeManifest).want(401)
	r.raw("GET", "/v2/other/manifests/v1", "", basic("reader:r")).want(401)
	r.raw("GET", "/acr/v1/_catalog", "", basic("reader:r")).want(401)
	r.raw("GET", "/acr/v1/_catalog", "", basic("lister:l")).want(200)
	for _, user := range []string{"lister:l", "reader:r"} { // 1.4: with either right
		r.raw("GET", "/v2/team/app/tags/list", "", basic(user)).want(200)
	}
	r.raw("GET", "/v2/team/app/tags/list", "", "Authorization: Bearer "+token("lister", "l", "repository:team/app:metadata_read")).want(200)
	r.raw("GET", "/v2/team/app/tags/list", "", "Authorization: Bearer "+token("admin", "one", "repository:team/app:push")).want(401)
	r.raw("GET", "/acr/v1/_catalog", "", basic("admin:two")).want(200)
	for _, wrong := range []string{"admin:three", "admin:", "nobody:x", "late:x", ":"} {
		r.raw("GET", "/v2/", "", basic(wrong)).want(401)
		r.raw("GET", "/oauth2/token?service="+r.host, "", basic(wrong)).want(401)
	}
	r.raw("GET", "/oauth2/token?service="+r.host+"&scope=repository:team/app:pull", "").want(401)
	r.raw("GET", "/v2/", "", basic("reader:r")).want(200)

	// The way of docker login.
	bearer := r.raw("GET", "/oauth2/token?service="+r.host+"&scope=repository:team/app:pull", "", basic("reader:r")).tokenIn("access_token")
	r.raw("GET", "/v2/team/app/manifests/v1", "", "Authorization: Bearer "+bearer, "Accept: "+typeManifest).says(200, body)
	r.raw("GET", "/acr/v1/team/app/_tags", "", "Authorization: Bearer "+bearer).want(401)

	// A wish for more is answered with less.
	c := payload(t, token("reader", "r", "repository:team/app:* repository:other:pull registry:catalog:*"))
	if access, _ := json.Marshal(c["access"]); string(access) != `[{"Actions":["pull","metadata_read"],"Name":"team/app","Type":"repository"}]` {
		t.Errorf("%s", access)
	}
}

// 1.8: a mount reads from its source, and nobody gets at a blob that way whom
// the source would not let read it.
func TestMountNeedsTheRightToItsSource(t *testing.T) {
	r := start(t, localacr.Config{Auth: localacr.AuthBasic, Users: []localacr.User{
		{Name: "admin", Passwords: []string{"a"}, Admin: true},
		{Name: "pusher", Passwords: []string{"p"}, Actions: []string{"repositories/team/*/content/read", "repositories/team/*/content/write"}},
	}})
	login := func(user, password, scope string) string {
		return r.login("token", url.Values{"grant_type": {"password"}, "scope": {scope}, "username": {user}, "password": {password}}).tokenIn("access_token")
	}
	for _, repo := range []string{"secret", "team/base"} {
		r.tokens["repository:"+repo+":*"] = login("admin", "a", "repository:"+repo+":*")
	}
	d := r.pushBlob("secret", []byte("a secret"))
	r.pushBlob("team/base", []byte("a secret"))
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("pusher:p"))
	bearer := "Authorization: Bearer " + login("pusher", "p", "repository:secret:pull repository:team/base:pull repository:team/app:pull,push")
	for _, who := range []string{basic, bearer} {
		mount := "/v2/team/app/blobs/uploads/?mount=" + d + "&from="
		r.raw("POST", mount+"secret", "", who).want(401)
		r.raw("POST", mount+"team%2Fbase", "", who).want(201)
	}
}

func TestUsersFileThatIsWrong(t *testing.T) {
	for content, want := range map[string]string{
		`{`:                        "unexpected EOF",
		``:                         `it is empty: want {"users": [{"name": …}, …]}`,
		`[]`:                       `array at byte 1: want {"users": [{"name": …}, …]}`,
		`{"users":[{"name":"a"}]}`: "no password",
		`{"users":[{"name":"a:b","passwords":["x"]}]}`:                                           "colon",
		`{"users":[{"name":"a","passwords":["x"],"actions":["repositories/a/content/frob"]}]}`:   "content/frob",
		`{"users":[{"name":"a","passwords":["x"],"actions":["repositories/a*b/content/read"]}]}`: "a*b",
		`{"users":[{"name":"a","passwords":["x"]},{"name":"a","passwords":["x"]}]}`:              "twice",
		`{"users":[{"name":"a","passwords":["x"],"role":"admin"}]}`:                              "role",
	} {
		path := filepath.Join(t.TempDir(), "users.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := localacr.ReadUsers(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want something about %q", content, err, want)
		}
	}
	if _, err := localacr.Open(localacr.Config{Root: t.TempDir(), Auth: "ldap"}); err == nil || !strings.Contains(err.Error(), "ldap") {
		t.Error(err)
	}
	if _, err := localacr.Open(localacr.Config{Root: t.TempDir(), Auth: localacr.AuthBasic}); err == nil {
		t.Error("basic without users was accepted")
	}
}

// A registry that was open and then wants passwords takes no token of its open
// time, not even under the name of a user. Those of its own mode it takes after
// another restart.
func TestTokensEndWithTheirMode(t *testing.T) {
	root := freshRoot(t)
	basic := localacr.Config{Root: root, Name: "same", Auth: localacr.AuthBasic, Users: []localacr.User{{Name: "someone ☃ ?~", Passwords: []string{"p"}, Admin: true}}}
	scope := url.Values{"service": {"same"}, "scope": {"repository:a:*"}}
	with := func(more url.Values) url.Values { maps.Copy(more, scope); return more }
	open := func(cfg localacr.Config) *rig {
		s, err := localacr.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, s)
	}
	r := open(localacr.Config{Root: root, Name: "same"})
	refresh := r.login("exchange", with(url.Values{"grant_type": {"access_token"}, "access_token": {entra("https://containerregistry.azure.net", time.Now().Add(time.Hour))}})).tokenIn("refresh_token")
	access := r.login("token", with(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})).tokenIn("access_token")
	r.raw("GET", "/v2/", "", "Authorization: Bearer "+access).want(200)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	r = open(basic)
	if got := r.raw("GET", "/v2/", "", "Authorization: Bearer "+access).want(401); !strings.HasSuffix(got.header.Get("WWW-Authenticate"), `,error="invalid_token"`) {
		t.Error(got.header)
	}
	r.login("token", with(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})).says(401, "")
	for _, token := range []string{access, refresh} {
		r.login("token", with(url.Values{"grant_type": {"password"}, "username": {"00000000-0000-0000-0000-000000000000"}, "password": {token}})).says(401, "")
	}
	access = r.login("token", with(url.Values{"grant_type": {"password"}, "username": {"someone ☃ ?~"}, "password": {"p"}})).tokenIn("access_token")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	open(basic).raw("GET", "/v2/", "", "Authorization: Bearer "+access).want(200)
}

// An access token as a password gives another one that ends with it: who has no
// more than that is out when it has run out.
func TestAccessTokenDoesNotRenewItself(t *testing.T) {
	cfg := localacr.Config{Auth: localacr.AuthBasic, Users: []localacr.User{{Name: "u", Passwords: []string{"p"}, Admin: true}}}
	bubble(t, cfg, func(r *rig, _ func() net.Conn) {
		login := func(user, password string) reply {
			return r.login("token", url.Values{"grant_type": {"password"}, "scope": {"repository:a:pull"}, "username": {user}, "password": {password}})
		}
		first := login("u", "p").tokenIn("access_token")
		time.Sleep(40 * time.Minute)
		second := login("00000000-0000-0000-0000-000000000000", first).tokenIn("access_token")
		if got, want := payload(t, second)["exp"], payload(t, first)["exp"]; got != want {
			t.Errorf("renewed after 40 minutes it ends at %.0f, want %.0f", got, want)
		}
		time.Sleep(20 * time.Minute)
		login("00000000-0000-0000-0000-000000000000", second).says(401, "")
	})
}

func TestTokenLife(t *testing.T) {
	r := start(t, localacr.Config{TokenLife: time.Second})
	token := r.token("registry:catalog:*")
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+token).want(200)
	deadline := time.After(5 * time.Second)
	for {
		got := r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+token)
		if got.status == 401 {
			if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Error(got.header)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatal("the token is still good")
		case <-time.After(50 * time.Millisecond):
		}
	}
}
