package registry

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// jwtExpiry reads exp of a JWT's payload. The signature is the registry's
// business: a wrong expiry costs a 401, no more.
func jwtExpiry(value string) (exp float64, ok bool) {
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	decodeClaims(value, &claims)
	if claims.Exp == nil {
		return 0, false
	}
	return *claims.Exp, true
}

// decodeClaims reads the payload of a JWT into claims, or leaves them as they
// are. The signature is its issuer's and its audience's business.
func decodeClaims(value string, claims any) {
	parts := strings.Split(value, ".")
	if len(parts) != 3 {
		return
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return
	}
	_ = json.Unmarshal(text, claims) // of a broken document nothing is taken
}

// Expires is until when an identity token is good, by what is written in it.
// It is zero where nothing is known: users and passwords, opaque tokens.
func (c Credential) Expires() time.Time {
	if exp, ok := jwtExpiry(c.unpacked().IdentityToken); ok && exp > 0 && exp < 1<<40 {
		return time.Unix(int64(exp), 0)
	}
	return time.Time{}
}
