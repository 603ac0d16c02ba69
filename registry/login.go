package registry

import (
	"context"
	"net/url"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// maxTokens bounds the cache of access tokens: one of some 2 KiB for each
// repository and kind of access.
const maxTokens = 2048

// logins keeps what was learned about logging in: how the registry wants it
// done, and the tokens by scope.
//
// A fetch of a token is shared by all who wait for the same scope, and belongs
// to none of them: a caller that leaves stops waiting, not fetching.
type logins struct {
	endpoint *url.URL
	source   CredentialSource // nil: anonymous
	fetch    func(ctx context.Context, k call) (answer, error)
	shared   *background
	count    *counters

	known   atomic.Pointer[login] // nil until the first challenge
	tokens  *lru.Cache[string, token]
	flights singleflight.Group
}

// token is a value for the Authorization header. A zero expires is Basic,
// which stays until it is refused.
type token struct {
	value   string
	expires time.Time
}

func (t token) fresh() bool {
	return t.value != "" && (t.expires.IsZero() || time.Now().Before(t.expires))
}

// authorization returns the header for a scope, "" while nobody asked for one.
func (l *logins) authorization(ctx context.Context, scope string) (string, error) {
	known := l.known.Load()
	if known == nil {
		return "", nil
	}
	if t, ok := l.tokens.Get(l.key(*known, scope)); ok && t.fresh() {
		return t.value, nil
	}
	return l.obtain(ctx, *known, scope, scope)
}

// renew follows a challenge to a request that carried sent. It returns "" when
// there is nothing to offer.
func (l *logins) renew(ctx context.Context, wanted login, scope, sent string) (string, error) {
	asked := wanted.scope
	if asked == "" {
		asked = scope
	}
	how := l.learn(wanted)
	key := l.key(how, scope)
	if t, ok := l.tokens.Get(key); ok {
		if t.value != sent && t.fresh() {
			return t.value, nil // somebody renewed it meanwhile
		}
		l.tokens.Remove(key)
	}
	return l.obtain(ctx, how, scope, asked)
}

// obtain fetches what to send for scope, by asking for the scope asked.
func (l *logins) obtain(ctx context.Context, how login, scope, asked string) (string, error) {
	key := l.key(how, scope)
	flight := l.flights.DoChan(key+"\n"+asked, func() (any, error) {
		defer l.shared.begin()()
		// Whoever was here just before may have left the answer.
		if t, ok := l.tokens.Get(key); ok && t.fresh() {
			return t.value, nil
		}
		t, err := l.logIn(l.shared.ctx, how, asked)
		if err != nil {
			return "", err
		}
		l.tokens.Add(key, t)
		return t.value, nil
	})
	select {
	case r := <-flight:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// key is what a token is cached by. Basic is the same for every scope.
func (l *logins) key(how login, scope string) string {
	if how.realm == nil {
		return "basic"
	}
	return how.realm.String() + "\n" + how.service + "\n" + scope
}

// learn remembers how the registry wants a login done.
func (l *logins) learn(wanted login) login {
	how := login{realm: wanted.realm, service: wanted.service}
	l.known.Store(&how)
	return how
}

func (l *logins) credential(ctx context.Context) (Credential, error) {
	if l.source == nil {
		return Credential{}, nil
	}
	credential, err := l.source.Credential(ctx)
	return credential.unpacked(), err
}

// logIn asks for the credential and turns it into a token.
func (l *logins) logIn(ctx context.Context, how login, scope string) (token, error) {
	op := "log in to " + l.endpoint.Host
	credential, err := l.credential(ctx)
	if err != nil {
		return token{}, &Error{Op: op, Message: "no credential", Kind: ErrDenied, Err: err}
	}
	switch {
	case how.realm != nil:
		return l.fetchToken(ctx, op, how, scope, credential)
	case credential.anonymous():
		return token{}, nil
	case credential.IdentityToken != "":
		return token{}, &Error{Op: op, Message: "the registry wants a user name and password, not a token", Kind: ErrDenied}
	}
	return token{value: credential.basic()}, nil
}
