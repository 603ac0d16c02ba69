package registry

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

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

	known     atomic.Pointer[login]   // nil until the first challenge
	asked     atomic.Pointer[asked]   // what source said last; nil: ask it
	refreshed atomic.Pointer[refresh] // what the last exchange gave, see exchange.go
	abac      atomic.Bool             // see Client.PerRepository
	narrow    atomic.Bool             // wider tokens are refused here, see wide.go
	tokens    *tokenCache
	refusals  refusals                  // see refused.go
	welcome   atomic.Pointer[time.Time] // when letIn last said yes
	flights   singleflight.Group
}

// askEvery is how long an answer of the source is used, unless it is refused.
// A walk through many repositories logs in for each of them, and the source
// may have to run a program to answer.
const askEvery = time.Minute

// credentialLife is how long what the source gave is sent as it is. Passwords
// for some registries end after hours (Amazon's), and are refused then with a
// 403, which is no demand for another.
const credentialLife = 10 * time.Minute

// asked is an answer of the source.
type asked struct {
	credential Credential
	at         time.Time
}

// token is a value for the Authorization header. The zero value is none.
type token struct {
	value   string
	expires time.Time
}

func (t token) fresh() bool {
	return t.value != "" && time.Now().Before(t.expires)
}

// authorization returns the header for a scope, "" while nobody asked for one.
func (l *logins) authorization(ctx context.Context, scope string) (string, error) {
	known := l.known.Load()
	if known == nil {
		return "", nil
	}
	if value := l.kept(*known, scope, "", false); value != "" {
		return value, nil
	}
	return l.obtain(ctx, *known, scope, l.widened(*known, scope), "")
}

// renew follows a challenge to a request that carried sent. It returns "" when
// there is nothing to offer.
func (l *logins) renew(ctx context.Context, wanted login, scope, sent string) (string, error) {
	how := l.learn(wanted)
	l.drop(how, scope, sent, wanted.tooNarrow)
	if value := l.kept(how, scope, sent, wanted.tooNarrow); value != "" {
		return value, nil // somebody renewed it meanwhile
	}
	ask := or(wanted.scope, scope)
	if !wanted.tooNarrow {
		ask = l.widened(how, ask)
	}
	last := l.asked.Load()
	itself := how.realm == nil || last != nil && last.credential.RegistryToken != ""
	if !itself || l.refusals.recent("sent") != nil {
		return l.obtain(ctx, how, scope, ask, sent)
	}
	// What was refused is the credential itself: the source may have another.
	l.asked.Store(nil)
	value, err := l.obtain(ctx, how, scope, ask, sent)
	if err == nil {
		var same error
		if value == sent {
			same = ErrDenied
		}
		l.refusals.note("sent", same)
	}
	return value, err
}

// obtain fetches what to send for scope other than what was refused, by asking
// for the scope ask.
func (l *logins) obtain(ctx context.Context, how login, scope, ask, refused string) (string, error) {
	key := tokenKey(how, scope) + "\n" + ask
	flight := l.flights.DoChan(key, func() (any, error) {
		defer l.shared.begin()()
		// Whoever was here just before may have left the answer.
		if value := l.kept(how, scope, refused, !strings.HasSuffix(ask, everywhere)); value != "" {
			return value, nil
		}
		if err := cmp.Or(l.refusals.recent(key), l.refusals.recent(anyScope)); err != nil {
			return "", err
		}
		t, err := l.logIn(l.shared.ctx, how, ask)
		if errors.Is(err, ErrDenied) && l.letIn(how) {
			// Narrower tokens are given to those who ask for too much, but not
			// all services need know that.
			if exact, wide := strings.CutSuffix(ask, " "+everywhere); wide {
				if t, err = l.logIn(l.shared.ctx, how, exact); err == nil {
					l.narrow.Store(true)
				}
			}
		}
		l.refusals.note(key, err)
		if err != nil {
			return "", err
		}
		l.keep(how, scope, t)
		return t.value, nil
	})
	select {
	case r := <-flight:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// anyScope is what a refusal is noted for that is the credential's own.
const anyScope = "any scope"

// letIn tells, when a scope was refused, whether it is the scope or the
// credential: that is refused whatever it asks for, and then not offered again for
// each of thousands of repositories.
func (l *logins) letIn(how login) bool {
	if last := l.welcome.Load(); last != nil && time.Since(*last) < refusedMost {
		return true
	}
	if who, err := l.credential(l.shared.ctx); err == nil && who.anonymous() {
		return true // nobody's password: some give nothing to those who name no scope
	}
	scope := "" // as docker login asks
	if isAzureLogin(how) {
		scope = catalogScope // which every identity may ask for, see acr.loginScopes
	}
	t, err := l.logIn(l.shared.ctx, how, scope)
	l.refusals.note(anyScope, err)
	if err != nil {
		return false
	}
	now := time.Now()
	l.welcome.Store(&now)
	l.keep(how, scope, t)
	return true
}

// tokenKey is what a token is cached by. Basic is the same for every scope.
func tokenKey(how login, scope string) string {
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

// credential is what the source says, or said less than askEvery ago. All who
// ask at once share one answer.
func (l *logins) credential(ctx context.Context) (Credential, error) {
	if l.source == nil {
		return Credential{}, nil
	}
	if last := l.asked.Load(); last != nil && time.Since(last.at) < askEvery {
		return last.credential, nil
	}
	flight := l.flights.DoChan("credential", func() (any, error) {
		defer l.shared.begin()()
		if err := l.refusals.recent("credential"); err != nil {
			return Credential{}, err
		}
		credential, err := l.source.Credential(l.shared.ctx)
		if last := l.asked.Load(); err != nil && last != nil {
			credential, err = last.credential, nil // nobody refused it yet
		}
		if err != nil {
			err = &Error{Op: "log in to " + l.endpoint.Host, Message: "no credential", Kind: ErrDenied, Login: true, Err: err}
		}
		l.refusals.note("credential", err)
		if err != nil {
			return Credential{}, err
		}
		credential = credential.unpacked()
		l.asked.Store(&asked{credential, time.Now()})
		return credential, nil
	})
	select {
	case r := <-flight:
		return r.Val.(Credential), r.Err
	case <-ctx.Done():
		return Credential{}, context.Cause(ctx)
	}
}

// logIn turns the credential into a token. One that is refused sends us back
// to the source, which may have another by now.
func (l *logins) logIn(ctx context.Context, how login, scope string) (token, error) {
	op := "log in to " + l.endpoint.Host
	credential, err := l.credential(ctx)
	if err != nil {
		return token{}, err
	}
	t, err := l.offer(ctx, op, how, scope, credential)
	if l.source == nil || !errors.Is(err, ErrDenied) {
		return t, err
	}
	l.asked.Store(nil)
	if again, askErr := l.credential(ctx); askErr == nil && again != credential {
		return l.offer(ctx, op, how, scope, again)
	}
	return t, err
}

// offer gives the registry what it wants to see of the credential.
func (l *logins) offer(ctx context.Context, op string, how login, scope string, credential Credential) (token, error) {
	switch {
	case credential.RegistryToken != "":
		return token{"Bearer " + credential.RegistryToken, time.Now().Add(credentialLife)}, nil
	case how.realm != nil:
		return l.fetchToken(ctx, op, how, scope, credential)
	case credential.anonymous():
		return token{}, nil
	case credential.IdentityToken != "" || credential.Entra != nil:
		return token{}, &Error{Op: op, Message: "the registry wants a user name and password, not a token", Kind: ErrDenied, Login: true}
	}
	return token{credential.basic(), time.Now().Add(credentialLife)}, nil
}
