package localacr

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// formLimit bounds a login form; an Entra token is the largest thing in it.
const formLimit = 128 << 10

// form reads a login's fields.
func (x *exchange) form() (url.Values, error) {
	x.r.Body = x.atMost(formLimit)
	if err := x.r.ParseForm(); err != nil {
		return nil, refuse(http.StatusBadRequest, "UNKNOWN", "the form cannot be read")
	}
	return x.r.Form, nil
}

// exchangeToken gives an ACR refresh token for an Entra access token.
func (x *exchange) exchangeToken() error {
	form, err := x.form()
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"access_token", "access_token_refresh_token", "refresh_token"}, form.Get("grant_type")) {
		return x.loginRefused()
	}
	if x.cfg.Auth != AuthOpen && x.cfg.Auth != AuthEntra || x.fault.ExpiredToken {
		return x.loginRefused()
	}
	entra, err := x.checkEntraToken(form.Get("access_token"), time.Now())
	if err != nil {
		x.cfg.Logger.Debug("token refused", "error", err)
		return x.loginRefused()
	}
	if _, ok := x.cfg.identity(entra.subject(), entra.AppID); !ok && x.cfg.Auth == AuthEntra {
		x.cfg.Logger.Debug("identity without a role", "object", entra.subject(), "application", entra.AppID)
		return x.loginRefused()
	}
	identity := ""
	if x.cfg.Auth == AuthEntra && x.cfg.perIdentity() {
		identity = entra.subject()
	}
	token, err := x.mintToken(claims{
		Subject: entra.subject(), GrantType: "refresh_token", AppID: entra.AppID, Tenant: entra.Tenant, Identity: identity,
		Permissions: &permissions{Actions: []string{"read", "write", "delete", "deleted/read", "deleted/restore/action"}},
	}, refreshLife)
	if err != nil {
		return err
	}
	return x.login(map[string]string{"refresh_token": token})
}

// issueToken gives an access token for a refresh token or a password.
func (x *exchange) issueToken() error {
	form, err := x.form()
	if err != nil {
		return err
	}
	var who caller
	var ok bool
	user, password, basic := x.r.BasicAuth()
	switch grant := form.Get("grant_type"); {
	case grant == "refresh_token":
		var c claims
		if c, ok = x.readToken(form.Get("refresh_token"), "refresh_token", time.Now()); ok {
			who = x.ofClaims(c)
		}
	case basic:
		who, ok = x.logIn(user, password)
	case grant == "password" || x.r.Method == http.MethodGet:
		who, ok = x.logIn(form.Get("username"), form.Get("password"))
	}
	if !ok {
		return x.loginRefused()
	}
	granted := who.granted
	if who.grant != nil {
		granted = who.grant(parseScopes(form["scope"]))
	}
	if x.fault.NarrowToken {
		granted = nil
	}
	life := accessLife
	if who.name == anonymousName {
		life = anonymousLife
	}
	token, err := x.mintToken(claims{
		Subject: who.name, GrantType: "access_token", AppID: nullUser, Access: append([]access{}, granted...), Expires: who.expires,
	}, life)
	if err != nil {
		return err
	}
	return x.login(map[string]string{"access_token": token})
}

// scopeLimit bounds the scopes of one token.
const scopeLimit = 256

// parseScopes reads scopes, of which each field may hold several. What is not
// a scope is passed over, as is what a scope asks for in vain: the token is
// narrower then, and the next call says so.
func parseScopes(fields []string) (wishes []access) {
	for _, field := range fields {
		for scope := range strings.FieldsSeq(field) {
			typ, rest, _ := strings.Cut(scope, ":")
			name, list, ok := cutLast(rest, ":")
			if !ok || len(wishes) == scopeLimit {
				continue
			}
			a := access{Type: typ, Name: name}
			for action := range strings.SplitSeq(list, ",") {
				switch action {
				case "metadataRead":
					action = "metadata_read"
				case "metadataWrite":
					action = "metadata_write"
				case "":
					continue
				}
				a.Actions = append(a.Actions, action)
			}
			if len(a.Actions) > 0 {
				wishes = append(wishes, a)
			}
		}
	}
	return wishes
}

// login answers a login. ACR sends these chunked.
func (x *exchange) login(document map[string]string) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	x.w.WriteHeader(http.StatusOK)
	x.w.Flush()
	x.w.Write(append(body, '\n'))
	return nil
}

// loginRefused is a login that failed: no body, no reason.
func (x *exchange) loginRefused() error { return x.empty(http.StatusUnauthorized) }
