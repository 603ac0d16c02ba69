package localacr

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Entra says which tokens of Microsoft Entra a registry with AuthEntra takes.
type Entra struct {
	// Keys returns the issuer's key with this id. It is asked for each login
	// and has to keep what is costly to get; ParseKeys reads Entra's own form.
	Keys func(ctx context.Context, id string) (*rsa.PublicKey, error)
	// Issuer is what "iss" begins with. Empty: anything, as the key proves it.
	Issuer string
	// Audience is what "aud" must be. Empty: what ACR takes, which is its own
	// audience and the resource manager's of each cloud.
	Audience string
}

// entraClaims is what we look at in an Entra token.
type entraClaims struct {
	Issuer    string  `json:"iss"`
	Audience  string  `json:"aud"`
	NotBefore float64 `json:"nbf"`
	Expires   float64 `json:"exp"`
	Object    string  `json:"oid"`
	Subject   string  `json:"sub"`
	AppID     string  `json:"appid"`
	Tenant    string  `json:"tid"`
}

func (c entraClaims) subject() string {
	for _, s := range []string{c.Object, c.Subject, c.AppID} {
		if s != "" {
			return s
		}
	}
	return "someone"
}

// audiences of tokens for ACR: its own, and Azure's resource manager's in the
// three clouds.
var audiences = []string{
	"https://containerregistry.azure.net",
	"https://management.azure.com",
	"https://management.core.windows.net",
	"https://management.chinacloudapi.cn",
	"https://management.usgovcloudapi.net",
}

// clockSkew is how far ahead an issuer's clock may be.
const clockSkew = 5 * time.Minute

// checkEntraToken returns the claims of a token that is for us and good now.
// An open registry takes it from anyone; AuthEntra wants its issuer's
// signature.
func (x *exchange) checkEntraToken(token string, now time.Time) (entraClaims, error) {
	var c entraClaims
	if err := decodePayload(token, &c); err != nil {
		return c, err
	}
	trust := x.cfg.Entra
	wanted := audiences
	if trust.Audience != "" {
		wanted = []string{strings.TrimSuffix(trust.Audience, "/")}
	}
	switch {
	case !slices.Contains(wanted, strings.TrimSuffix(c.Audience, "/")):
		return c, fmt.Errorf("the token is for %q", c.Audience)
	case float64(now.Unix()) >= c.Expires:
		return c, errors.New("the token has expired")
	case float64(now.Add(clockSkew).Unix()) < c.NotBefore:
		return c, errors.New("the token is not valid yet")
	case x.cfg.Auth == AuthOpen:
		return c, nil
	case !strings.HasPrefix(c.Issuer, trust.Issuer):
		return c, fmt.Errorf("the token is from %q", c.Issuer)
	}
	return c, trust.verify(x.r.Context(), token)
}

// verify checks the signature. RS256 is all that Entra uses; what the header
// says about it is not believed.
func (e Entra) verify(ctx context.Context, token string) error {
	signed, signature, ok := cutLast(token, ".")
	head, _, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	raw, rawErr := base64.RawURLEncoding.DecodeString(signature)
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if !ok || err != nil || rawErr != nil || json.Unmarshal(text, &header) != nil || header.Algorithm != "RS256" {
		return errors.New("not a token signed with RS256")
	}
	key, err := e.Keys(ctx, header.KeyID)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(signed))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) != nil {
		return errors.New("the token's signature is wrong")
	}
	return nil
}

// ParseKeys reads the RSA keys of a JSON Web Key Set, as Entra publishes them
// at /discovery/v2.0/keys, by their ids.
func ParseKeys(text []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []struct {
			Type     string `json:"kty"`
			ID       string `json:"kid"`
			Modulus  string `json:"n"`
			Exponent string `json:"e"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, nErr := base64.RawURLEncoding.DecodeString(k.Modulus)
		e, eErr := base64.RawURLEncoding.DecodeString(k.Exponent)
		modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
		if k.Type != "RSA" || nErr != nil || eErr != nil || modulus.BitLen() < 2048 || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 {
			continue // other kinds of keys, and ones too weak to trust
		}
		keys[k.ID] = &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
	}
	if len(keys) == 0 {
		return nil, errors.New("no RSA key in the JSON Web Key Set")
	}
	return keys, nil
}

// identity is what an Entra identity may do: what the user says who stands for
// it, by its object or application id, or everything where no user stands for
// any. ok is false for one without a role.
func (cfg Config) identity(object, application string) (grant func([]access) []access, ok bool) {
	if !cfg.perIdentity() {
		return grantAll, true
	}
	for _, u := range cfg.Users {
		if u.Entra != "" && (u.Entra == object || u.Entra == application) && (u.Expires.IsZero() || time.Now().Before(u.Expires)) {
			return u.grant, true
		}
	}
	return grantNone, false
}

// perIdentity: some users stand for Entra identities, whose rights are then
// given per repository, as ACR calls ABAC.
func (cfg Config) perIdentity() bool {
	return slices.ContainsFunc(cfg.Users, func(u User) bool { return u.Entra != "" })
}
