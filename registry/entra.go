package registry

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// DefaultAudience is what Azure's registries want Microsoft Entra's tokens to
// be for, in every cloud.
const DefaultAudience = "https://containerregistry.azure.net"

const (
	// entraTimeout bounds one request to Microsoft Entra, which may be the
	// start of the Azure CLI on a slow machine.
	entraTimeout = 60 * time.Second
	// azureCLI is the application that users of the Azure CLI log in with.
	azureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
)

// Entra is an identity of Microsoft Entra, as a Credential. Its tokens are
// sent to the registry itself and nowhere else: see logins.entraToken.
type Entra struct {
	tokens azcore.TokenCredential
	scope  string

	mu   sync.Mutex // guards last
	last azcore.AccessToken
}

// NewEntra makes an identity of what package azidentity gives. audience is the
// resource that tokens are asked for; "": DefaultAudience.
func NewEntra(tokens azcore.TokenCredential, audience string) *Entra {
	return &Entra{tokens: tokens, scope: strings.TrimSuffix(or(audience, DefaultAudience), "/") + "/.default"}
}

// Identity asks for a token and tells whose it is: "alice@contoso.com",
// "application 0a1b…". It is "" when the token does not say.
func (e *Entra) Identity(ctx context.Context) (string, error) {
	value, err := e.token(ctx, "")
	if err != nil {
		return "", err
	}
	var c struct {
		UPN    string `json:"upn"`
		Unique string `json:"unique_name"`
		AppID  string `json:"appid"`
		Object string `json:"oid"`
	}
	decodeClaims(value, &c)
	switch name := clean(or(c.UPN, c.Unique), 128); {
	case name != "" && c.AppID == azureCLI:
		return name + " of the Azure CLI", nil
	case name != "":
		return name, nil
	case c.AppID != "":
		return "application " + clean(c.AppID, 64), nil
	case c.Object != "":
		return "object " + clean(c.Object, 64), nil
	}
	return "", nil
}

// token returns a token that is good for some minutes, other than the refused
// one if there is any other.
func (e *Entra) token(ctx context.Context, refused string) (string, error) {
	e.mu.Lock()
	last := e.last
	e.mu.Unlock()
	if last.Token != "" && last.Token != refused && time.Until(last.ExpiresOn) > maxMargin {
		return last.Token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, entraTimeout)
	defer cancel()
	next, err := e.tokens.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{e.scope}})
	switch {
	case err != nil:
		return "", &entraError{cause: err, late: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	case !printable(next.Token):
		return "", errors.New("no token in the answer of Microsoft Entra")
	}
	e.mu.Lock()
	e.last = next
	e.mu.Unlock()
	return next.Token, nil
}
