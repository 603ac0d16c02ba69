package registry

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"
)

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestDecodeToken(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hour := jwt(fmt.Sprintf(`{"exp":%d,"sub":"??>>~~"}`, now.Add(time.Hour).Unix())) // has - and _ in base64url
	for _, row := range []struct {
		body, value string
		life        time.Duration
	}{
		{`{"token":"t","expires_in":300}`, "t", 300 * time.Second},
		{`{"access_token":"t","expires_in":"300"}`, "t", 300 * time.Second},
		{`{"token":"first","access_token":"second"}`, "first", shortLife},
		{`{"access_token":"` + hour + `"}`, hour, time.Hour},
		{`{"access_token":"` + jwt(`{"exp":1}`) + `"}`, jwt(`{"exp":1}`), shortLife},
		{`{"access_token":"` + jwt(`{"exp":1e300}`) + `"}`, jwt(`{"exp":1e300}`), 24 * time.Hour},
		{`{"access_token":"` + jwt(`{"exp":"soon"}`) + `"}`, jwt(`{"exp":"soon"}`), shortLife},
		{`{"access_token":"a.!!.c"}`, "a.!!.c", shortLife},
		{`{"token":"line\nbreak"}`, "", 0},
		{`{}`, "", 0},
		{`null`, "", 0},
		{`<html>`, "", 0},
	} {
		value, life := decodeToken([]byte(row.body), now)
		if value != row.value || life != row.life {
			t.Errorf("%s: got %q %v, want %q %v", row.body, value, life, row.value, row.life)
		}
	}
}

func TestIdentityTokenTellsItsEnd(t *testing.T) {
	for _, row := range []struct {
		credential Credential
		want       int64
	}{
		{Credential{IdentityToken: jwt(`{"exp":1893456000}`)}, 1893456000},
		{Credential{Username: "<token>", Password: jwt(`{"exp":1893456000.5}`)}, 1893456000},
		{Credential{Username: "u", Password: jwt(`{"exp":1893456000}`)}, 0}, // a password, whatever it looks like
		{Credential{IdentityToken: "opaque"}, 0},
		{Credential{IdentityToken: jwt(`{"exp":1e300}`)}, 0},
		{Credential{IdentityToken: jwt(`{"exp":-1}`)}, 0},
		{Credential{}, 0},
	} {
		if got := row.credential.Expires(); got.IsZero() != (row.want == 0) || row.want != 0 && got.Unix() != row.want {
			t.Errorf("%+v: got %v, want %d", row.credential, got, row.want)
		}
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add([]byte(`{"token":"t","expires_in":300}`))
	f.Add([]byte(`{"access_token":"` + jwt(`{"exp":1893456000}`) + `"}`))
	f.Add([]byte(`{"access_token":"a.b.c","expires_in":-1e999}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		value, life := decodeToken(body, time.Unix(1700000000, 0))
		if value != "" && (life <= 0 || life > 24*time.Hour) {
			t.Errorf("%q lives %v", body, life)
		}
		if value != "" && !printable(value) {
			t.Errorf("%q is no header value", value)
		}
	})
}
