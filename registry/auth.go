package registry

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Credential is what a registry accepts as proof of who asks. The zero value
// is anonymous.
type Credential struct {
	Username, Password string
	// IdentityToken is an ACR refresh token, or the OAuth2 identity token of
	// another registry. It goes before Username and Password.
	IdentityToken string
	// RegistryToken is an access token that somebody else fetched: it is sent
	// to the registry as it is, whatever a challenge asks for.
	RegistryToken string
	// Entra is an identity of Microsoft Entra. It goes before all others.
	Entra *Entra
}

// CredentialSource is asked at a login when its last answer is a minute old or
// was refused, so that a docker configuration that changed meanwhile is seen.
// While it fails, its last answer is used until that is refused. It must be safe
// for concurrent use and honour ctx.
type CredentialSource interface {
	Credential(ctx context.Context) (Credential, error)
}

// StaticCredential always gives c.
func StaticCredential(c Credential) CredentialSource { return staticCredential(c) }

type staticCredential Credential

func (s staticCredential) Credential(context.Context) (Credential, error) {
	return Credential(s), nil
}

// The user names under which docker credential stores keep an identity token
// in the place of a password: az acr login's and the credential helpers'.
const (
	nullGUIDUser = "00000000-0000-0000-0000-000000000000"
	tokenUser    = "<token>"
)

// unpacked moves an identity token to its own field.
func (c Credential) unpacked() Credential {
	if c.IdentityToken == "" && c.Password != "" && (c.Username == nullGUIDUser || c.Username == tokenUser) {
		return Credential{IdentityToken: c.Password}
	}
	return c
}

func (c Credential) anonymous() bool {
	return c == Credential{}
}

func (c Credential) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// authScope marks requests that carry Authorization, and says what for:
// "repository:team/app:pull". Requests to other hosts have no mark.
type authScope string

// authPolicy logs in. Once it knows how, from the first challenge, a token for
// the request's scope is fetched beforehand; the scopes are known (see the
// table in doc.go), so a 401 is rare and bodies are sent once.
//
// On a 401 it drops what it sent, follows the new challenge to exactly one new
// token, and repeats the request once.
type authPolicy struct{ logins *logins }

func (p *authPolicy) Do(req *policy.Request) (*http.Response, error) {
	var scope authScope
	if !req.OperationValue(&scope) {
		return req.Next()
	}
	ctx := req.Raw().Context()
	sent, err := p.logins.authorization(ctx, string(scope))
	if err != nil {
		return nil, err
	}
	setAuthorization(req, sent)
	resp, err := req.Next()
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	wanted, ok := chooseLogin(parseChallenges(resp.Header.Values("WWW-Authenticate")))
	if !ok {
		return resp, nil
	}
	renewed, err := p.logins.renew(ctx, wanted, string(scope), sent)
	if err != nil {
		discard(resp)
		return nil, err
	}
	if renewed == "" || renewed == sent {
		return resp, nil // nothing better to offer
	}
	discard(resp)
	if err := req.RewindBody(); err != nil {
		return nil, err
	}
	setAuthorization(req, renewed)
	return req.Next()
}

func setAuthorization(req *policy.Request, value string) {
	if value == "" {
		req.Raw().Header.Del("Authorization")
		return
	}
	req.Raw().Header.Set("Authorization", value)
}
