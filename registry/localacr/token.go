package localacr

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// claims are what is in a token of ACR's.
type claims struct {
	ID        string   `json:"jti"`
	Subject   string   `json:"sub"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Version   string   `json:"version"`
	Registry  string   `json:"rid"`
	GrantType string   `json:"grant_type"`
	AppID     string   `json:"appid"`
	Tenant    string   `json:"tenant,omitempty"`
	Identity  string   `json:"aad_identity,omitempty"` // only where rights are given per repository
	Access    []access `json:"access,omitzero"`

	Permissions *permissions `json:"permissions,omitempty"`
	Roles       []string     `json:"roles"`
}

type permissions struct {
	Actions    []string
	NotActions []string
}

// Lives of tokens, counted from their issue, and how far their iat and nbf
// lie before it.
const (
	refreshLife   = 3 * time.Hour
	accessLife    = time.Hour
	anonymousLife = 5 * time.Minute
	backdating    = 15 * time.Minute
)

// mintToken signs the claims of a token that lives that long, or until the time
// in them if that is earlier.
func (x *exchange) mintToken(c claims, life time.Duration) (string, error) {
	if x.cfg.TokenLife > 0 {
		life = x.cfg.TokenLife
	}
	now := time.Now()
	if x.fault.ExpiredToken {
		life = -time.Minute
	}
	c.ID, c.Issuer, c.Audience, c.Version, c.Registry = newUUID(), "Azure Container Registry", x.registry(), "1.0", x.id
	c.IssuedAt = now.Add(-backdating).Unix()
	c.NotBefore = c.IssuedAt
	if end := now.Add(life).Unix(); c.Expires == 0 || end < c.Expires {
		c.Expires = end
	}
	c.Roles = []string{}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	kid, err := keyID(&x.store.tokenKey.PublicKey)
	if err != nil {
		return "", err
	}
	header := fmt.Sprintf(`{"alg":"RS256","typ":"JWT","kid":%q}`, kid)
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(plainBase64(payload))
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, x.store.tokenKey, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// plainBase64 escapes in a JSON document what could become '-' or '_' in
// base64url: the official Go SDK decodes a token's payload with the standard
// alphabet. Those two digits stand for 62 and 63, which of ASCII only the low
// six bits of '>', '?', '~' and DEL can make.
func plainBase64(document []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(document) {
		switch {
		case r == '>' || r == '?' || r == '~' || r == 0x7f || r > 0x7f && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// keyID is libtrust's fingerprint of a public key, which ACR puts into its
// headers.
func keyID(key any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for ; len(text) > 0; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(groups, ":"), nil
}

// tokenLimit bounds the tokens that are looked at. ACR's are below 2 KiB, Entra's
// grow with the user's groups; one of ours can be longer only with hundreds of
// scopes that no client asks for at once.
const tokenLimit = 64 << 10

// genuineLimit bounds how many tokens are kept, of some 1 KiB each as a rule.
const genuineLimit = 1024

// genuine are tokens whose signature was found to be ours. A client sends the
// same one with each of its requests, and to check it again takes longer than
// most answers.
type genuine struct{ tokens *lru.Cache[string, claims] }

func newGenuine() *genuine { return &genuine{newLRU[claims](genuineLimit)} }

// read returns the claims of a token that this key signed, expired or not.
func (g *genuine) read(token string, key *rsa.PublicKey) (c claims, ok bool) {
	if c, ok = g.tokens.Get(token); ok {
		return c, true
	}
	text, signature, ok := cutLast(token, ".")
	if !ok || len(token) > tokenLimit {
		return c, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return c, false
	}
	sum := sha256.Sum256([]byte(text))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) != nil {
		return c, false
	}
	if err := decodePayload(token, &c); err != nil {
		return c, false
	}
	g.tokens.Add(token, c)
	return c, true
}

// readToken returns the claims of a token of ours that is valid now. They are
// shared and must not be changed.
func (x *exchange) readToken(token, grantType string, now time.Time) (claims, bool) {
	c, ok := x.genuine.read(token, &x.store.tokenKey.PublicKey)
	return c, ok && c.GrantType == grantType && c.Registry == x.id && c.Audience == x.registry() && now.Unix() < c.Expires && now.Unix() >= c.NotBefore
}

// idUnder is the id that a registry has under an auth mode. It is in its tokens,
// which are good for nothing under another mode: what is open to everyone gives
// them to whoever takes a user's name.
func idUnder(mode AuthMode, id string) string {
	sum := sha256.Sum256([]byte(string(mode) + " " + id))
	return hex.EncodeToString(sum[:16])
}

// decodePayload reads the claims of any JWT, whoever signed it.
func decodePayload(token string, claims any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > tokenLimit {
		return fmt.Errorf("not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, claims)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// newUUID returns a random UUID.
func newUUID() string {
	b := random(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
