package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// refresh is a refresh token of the registry, and whose it is.
type refresh struct {
	of    *Entra
	token token // without "Bearer "
}

// entraToken fetches an access token on behalf of an identity of Microsoft
// Entra, in two steps: its token is exchanged for a refresh token of the
// registry, good for hours and for all scopes, and that one for the access
// token. A refresh token that is refused before its time leads back to the
// identity, once.
func (l *logins) entraToken(ctx context.Context, op string, how login, scope string, entra *Entra) (token, error) {
	if problem := l.checkEntra(how.realm); problem != "" {
		return token{}, &Error{Op: op, Message: problem, Kind: ErrDenied, Login: true}
	}
	refused := ""
	for {
		refreshToken, err := l.refreshToken(ctx, op, how, entra, refused)
		if err != nil {
			return token{}, err
		}
		t, err := l.redeem(ctx, op, how, scope, Credential{IdentityToken: refreshToken})
		if refused != "" || !errors.Is(err, ErrDenied) {
			return t, err
		}
		refused = refreshToken
	}
}

// checkEntra keeps Entra's tokens, which open more than this registry, at the
// registry's own host and off the wire in clear.
func (l *logins) checkEntra(realm *url.URL) string {
	switch {
	case l.endpoint.Scheme != "https" && !isLoopback(l.endpoint):
		return "a Microsoft Entra token goes over https only; refused"
	case !sameOrigin(realm, l.endpoint):
		return "its token service is elsewhere, at " + clean(realm.Host, 255) + ", where a Microsoft Entra token must not go; refused"
	}
	return ""
}

// refreshToken returns the registry's refresh token for entra, other than the
// refused one. All who need a new one share one exchange.
func (l *logins) refreshToken(ctx context.Context, op string, how login, entra *Entra, refused string) (string, error) {
	usable := func() (string, bool) {
		r := l.refreshed.Load()
		if r == nil || r.of != entra || r.token.value == refused || !r.token.fresh() {
			return "", false
		}
		return r.token.value, true
	}
	if value, ok := usable(); ok {
		return value, nil
	}
	flight := l.flights.DoChan("refresh", func() (any, error) {
		defer l.shared.begin()()
		if value, ok := usable(); ok {
			return value, nil
		}
		if err := l.refusals.recent("exchange"); err != nil {
			return "", err
		}
		r, err := l.exchange(l.shared.ctx, op, how, entra)
		l.refusals.note("exchange", err)
		if err != nil {
			return "", err
		}
		l.refreshed.Store(&r)
		return r.token.value, nil
	})
	select {
	case r := <-flight:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// exchange gives an Entra token for a refresh token. A token that lay here may
// have been taken back meanwhile; when it is refused, a new one is tried.
func (l *logins) exchange(ctx context.Context, op string, how login, entra *Entra) (refresh, error) {
	value, err := entra.token(ctx, "")
	if err != nil {
		kind := kindOfEntra(err)
		return refresh{}, &Error{Op: op, Message: "no token from Microsoft Entra", Kind: kind, Login: true, Silent: kind != ErrDenied, Err: err}
	}
	r, err := l.exchangeOnce(ctx, op, how, entra, value)
	if !errors.Is(err, ErrDenied) {
		return r, err
	}
	again, tokenErr := entra.token(ctx, value)
	if tokenErr != nil || again == value {
		return r, err
	}
	return l.exchangeOnce(ctx, op, how, entra, again)
}

func (l *logins) exchangeOnce(ctx context.Context, op string, how login, entra *Entra, value string) (refresh, error) {
	l.count.tokens.Add(1)
	form := url.Values{
		"grant_type":   {"access_token"},
		"service":      {or(how.service, l.endpoint.Host)},
		"access_token": {value},
	}
	u := *l.endpoint
	u.Path = "/oauth2/exchange"
	k := call{op: op, method: http.MethodPost, url: &u, body: []byte(form.Encode()), limit: maxToken}
	a, err := l.fetch(ctx, k.with("Content-Type", "application/x-www-form-urlencoded"))
	if err != nil {
		return refresh{}, err
	}
	if !a.ok() {
		refusal := statusError(op, a.status, a.header, a.body)
		switch {
		case a.status == http.StatusNotFound:
			refusal.Message, refusal.Kind = "it takes no Microsoft Entra tokens", ErrDenied
		case a.status == http.StatusBadRequest:
			refusal.Kind = ErrDenied
		case refusal.Message == "" && refusal.Kind == ErrDenied:
			refusal.Message = "the registry refused the Microsoft Entra token"
		}
		refusal.Login = true
		return refresh{}, refusal
	}
	var answered struct {
		RefreshToken string `json:"refresh_token"`
	}
	if json.Unmarshal(a.body, &answered) != nil || !printable(answered.RefreshToken) {
		return refresh{}, broken(op, "the answer to the exchange holds no refresh token")
	}
	l.noteABAC(answered.RefreshToken)
	now := time.Now()
	life := shortLife
	if exp, ok := jwtExpiry(answered.RefreshToken); ok {
		life = max(inSeconds(exp-float64(serverTime(a.header, now).Unix())), 0)
	}
	return refresh{of: entra, token: token{value: answered.RefreshToken, expires: now.Add(life - min(life/10, maxMargin))}}, nil
}

// noteABAC sees by a refresh token whether the registry gives rights per
// repository: only then does it say whose it is.
func (l *logins) noteABAC(refreshToken string) {
	var c struct {
		Identity json.RawMessage `json:"aad_identity"`
	}
	decodeClaims(refreshToken, &c)
	l.abac.Store(len(c.Identity) > 0)
}

// PerRepository reports whether the registry said, in a refresh token that it
// gave an identity of Microsoft Entra, that it gives rights per repository
// (ABAC). It is false before the first login.
func (c *Client) PerRepository() bool { return c.logins.abac.Load() }
