package registry

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// shortLife is assumed of a token that tells no expiry; the token
	// specification says 60 seconds.
	shortLife = 60 * time.Second
	// maxMargin is how long before its expiry a token is renewed, so that it
	// does not expire on the way. Short lives give a tenth of themselves.
	maxMargin = time.Minute
	// clientID is required by OAuth2 token services, and only ever logged there.
	clientID = "acrfs"
)

// fetchToken exchanges the credential for an access token at the realm.
//
// Azure's token service, known by its path, and identity tokens take the
// OAuth2 form (POST); all others the docker form (GET with Basic), and so does
// a service that turns out not to know the former. Identities of Microsoft
// Entra take one step more (exchange.go).
func (l *logins) fetchToken(ctx context.Context, op string, how login, scope string, credential Credential) (token, error) {
	if credential.Entra != nil {
		return l.entraToken(ctx, op, how, scope, credential.Entra)
	}
	if problem := l.checkRealm(how.realm, credential); problem != "" {
		return token{}, &Error{Op: op, Message: problem, Kind: ErrDenied, Login: true}
	}
	if credential.IdentityToken != "" {
		l.noteABAC(credential.IdentityToken)
	}
	return l.redeem(ctx, op, how, scope, credential)
}

// redeem asks the token service.
func (l *logins) redeem(ctx context.Context, op string, how login, scope string, credential Credential) (token, error) {
	l.count.tokens.Add(1)
	oauth := credential.IdentityToken != "" || strings.HasSuffix(how.realm.Path, "/oauth2/token")
	k := getToken(op, how, scope, credential)
	if oauth {
		k = postToken(op, how, scope, credential)
	}
	a, err := l.fetch(ctx, k)
	if err == nil && oauth && credential.IdentityToken == "" && (a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed) {
		a, err = l.fetch(ctx, getToken(op, how, scope, credential))
	}
	if err != nil {
		return token{}, err
	}
	if !a.ok() {
		return token{}, l.refusal(op, a, credential)
	}
	now := time.Now()
	value, life := decodeToken(a.body, serverTime(a.header, now))
	if value == "" {
		return token{}, broken(op, "the token service's answer holds no token")
	}
	return token{value: "Bearer " + value, expires: now.Add(life - min(life/10, maxMargin))}, nil
}

// checkRealm keeps credentials from travelling in clear: to https, or on this
// machine when the registry is there too. A registry that the user spelled
// http:// may be asked in clear itself, but may not send us elsewhere.
func (l *logins) checkRealm(realm *url.URL, credential Credential) string {
	switch {
	case realm.Scheme == "https", credential.anonymous(), sameOrigin(realm, l.endpoint):
	case isLoopback(realm) && isLoopback(l.endpoint):
	default:
		return "the registry sends credentials over plain http to " + clean(realm.Host, 255) + "; refused"
	}
	if realm.Scheme == "http" && l.endpoint.Scheme == "https" {
		return "the registry is on https, but its token service at " + clean(realm.Host, 255) + " is not; refused"
	}
	return ""
}

func (l *logins) refusal(op string, a answer, credential Credential) error {
	err := statusError(op, a.status, a.header, a.body)
	err.Login = true
	if err.Kind == ErrNotFound || a.status == http.StatusBadRequest {
		err.Kind = ErrDenied // services disagree on how to refuse
	}
	if err.Message == "" && err.Kind == ErrDenied {
		err.Message = "credentials refused"
		if credential.anonymous() {
			err.Message = "anonymous access refused; credentials are needed"
		}
	}
	return err
}

func getToken(op string, how login, scope string, credential Credential) call {
	u := *how.realm
	query := u.Query()
	if how.service != "" {
		query.Set("service", how.service)
	}
	for _, s := range strings.Fields(scope) {
		query.Add("scope", s)
	}
	u.RawQuery = query.Encode()
	k := call{op: op, method: http.MethodGet, url: &u, limit: maxToken}
	if !credential.anonymous() {
		k = k.with("Authorization", credential.basic())
	}
	return k
}

func postToken(op string, how login, scope string, credential Credential) call {
	form := url.Values{"client_id": {clientID}}
	if how.service != "" {
		form.Set("service", how.service)
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	switch {
	case credential.IdentityToken != "":
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", credential.IdentityToken)
	default:
		form.Set("grant_type", "password")
		if !credential.anonymous() {
			form.Set("username", credential.Username)
			form.Set("password", credential.Password)
		}
	}
	k := call{op: op, method: http.MethodPost, url: how.realm, body: []byte(form.Encode()), limit: maxToken}
	return k.with("Content-Type", "application/x-www-form-urlencoded")
}

// decodeToken reads the answer of a token service: the token under either of
// its two names, and how long it lives from now, the server's time.
// The token is "" when there is none that can be a header.
func decodeToken(body []byte, now time.Time) (value string, life time.Duration) {
	var fields struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // some services quote it
	}
	if json.Unmarshal(body, &fields) != nil {
		return "", 0
	}
	value = fields.Token
	if value == "" {
		value = fields.AccessToken
	}
	if !printable(value) {
		return "", 0
	}
	if seconds, err := strconv.ParseFloat(strings.Trim(string(fields.ExpiresIn), `"`), 64); err == nil {
		life = inSeconds(seconds)
	} else if exp, ok := jwtExpiry(value); ok {
		life = inSeconds(exp - float64(now.Unix()))
	}
	if life <= 0 {
		life = shortLife
	}
	return value, life
}

// inSeconds converts without overflow: a life of centuries is a day to us.
func inSeconds(seconds float64) time.Duration {
	if math.IsNaN(seconds) {
		return 0
	}
	return time.Duration(max(0, min(seconds, 86400)) * float64(time.Second))
}

// serverTime is the Date of an answer, so that a wrong local clock does not
// make every token look expired.
func serverTime(h http.Header, local time.Time) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return local
}

func printable(value string) bool {
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			return false
		}
	}
	return value != ""
}
