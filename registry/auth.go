package registry

import "context"

// Credential is what a registry accepts as proof of who asks. The zero value
// is anonymous.
type Credential struct {
	Username, Password string
	// IdentityToken is an ACR refresh token, or the OAuth2 identity token of
	// another registry. It goes before Username and Password.
	IdentityToken string
}

// CredentialSource is asked before each new login, so that a docker
// configuration that changed meanwhile is seen. It must be safe for
// concurrent use and honour ctx.
type CredentialSource interface {
	Credential(ctx context.Context) (Credential, error)
}

// StaticCredential always gives c.
func StaticCredential(c Credential) CredentialSource { return staticCredential(c) }

type staticCredential Credential

func (s staticCredential) Credential(context.Context) (Credential, error) {
	return Credential(s), nil
}
