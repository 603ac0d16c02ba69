package localacr

import (
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"
)

const unauthorizedMessage = "authentication required, visit https://aka.ms/acr/authorization for more information."

// nullUser is the user name under which a password is an ACR token.
const nullUser = "00000000-0000-0000-0000-000000000000"

// access is what a scope asks for and what a token grants. The keys of its
// JSON are capitalised, as in ACR's tokens.
type access struct {
	Type    string
	Name    string
	Actions []string
}

func (a access) String() string { return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",") }

// caller is who a request comes from and what that one may do.
type caller struct {
	name    string
	granted []access
	// grant narrows wishes to what the caller may have. Nil for a caller with
	// a token, who has what is in it.
	grant func([]access) []access
	// expires is when access tokens for the caller end at the latest, as in
	// claims. Zero: when they have lived their life.
	expires int64
}

// anonymousName is the subject of ACR's anonymous tokens.
const anonymousName = "acr_anon_pull"

// authorize lets a request through or answers with a challenge.
func (x *exchange) authorize(need []access) error {
	scheme, credential, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return x.authorizeBearer(strings.TrimSpace(credential), need)
	case strings.EqualFold(scheme, "Basic"):
		user, password, ok := x.r.BasicAuth()
		if !ok {
			break
		}
		if who, ok := x.logIn(user, password); ok && x.sufficient(who, need) {
			return nil
		}
	}
	return x.challenge(need, "")
}

func (x *exchange) authorizeBearer(token string, need []access) error {
	claims, ok := x.readToken(token, "access_token", time.Now())
	if !ok || x.fault.ExpiredToken {
		return x.challenge(need, "invalid_token")
	}
	if !x.sufficient(caller{name: claims.Subject, granted: claims.Access}, need) || x.fault.NarrowToken {
		return x.challenge(need, "insufficient_scope")
	}
	return nil
}

// sufficient reports whether the caller may do what needs this access. The names
// of tags are for those, too, who may read metadata: which of the two rights ACR
// asks for depends on its version.
func (x *exchange) sufficient(who caller, need []access) bool {
	return who.covers(need) || x.endpoint == EndpointTagsList && who.covers(metadataRead(x))
}

// covers reports whether everything needed is granted.
func (c caller) covers(need []access) bool {
	if c.grant != nil {
		c.granted = c.grant(need)
	}
	for _, n := range need {
		for _, action := range n.Actions {
			if !c.has(n.Type, n.Name, action) {
				return false
			}
		}
	}
	return true
}

func (c caller) has(typ, name, action string) bool {
	for _, g := range c.granted {
		if g.Type != typ || g.Name != name && g.Name != "*" {
			continue
		}
		if slices.Contains(g.Actions, action) || slices.Contains(g.Actions, "*") {
			return true
		}
		// ACR takes its anonymous pull token for metadata, too.
		if c.name == anonymousName && action == "metadata_read" && slices.Contains(g.Actions, "pull") {
			return true
		}
	}
	return false
}

// challenge refuses a request and says how to come in: which token service,
// and which scope to ask for.
func (x *exchange) challenge(need []access, problem string) error {
	var scopes []string
	type lack struct{ Type, Name, Action string }
	var lacks []lack
	for _, n := range need {
		scopes = append(scopes, n.String())
		for _, action := range n.Actions {
			lacks = append(lacks, lack{n.Type, n.Name, action})
		}
	}
	sort.Strings(scopes)
	header := `Bearer realm="` + x.scheme() + `://` + x.r.Host + `/oauth2/token",service="` + x.registry() + `"`
	if len(scopes) > 0 {
		header += `,scope="` + strings.Join(scopes, " ") + `"`
	}
	if problem != "" {
		header += `,error="` + problem + `"`
	}
	x.w.Header().Set("WWW-Authenticate", header)
	return refuse(http.StatusUnauthorized, "UNAUTHORIZED", unauthorizedMessage).with(lacks)
}

// logIn finds out who has these credentials. An empty user and password are
// an anonymous caller's.
func (x *exchange) logIn(user, password string) (caller, bool) {
	if user == nullUser {
		for _, kind := range []string{"refresh_token", "access_token"} {
			if claims, ok := x.readToken(password, kind, time.Now()); ok {
				return x.ofClaims(claims), true
			}
		}
		return caller{}, false
	}
	if x.cfg.Auth == AuthOpen {
		if user == "" {
			user = "anyone"
		}
		return caller{name: user, grant: grantAll}, true
	}
	if user == "" && password == "" {
		return caller{name: anonymousName, grant: grantPull}, x.cfg.Auth == AuthAnonymous
	}
	for _, u := range x.cfg.Users {
		if u.Name == user {
			return caller{name: user, grant: u.grant}, u.admits(password, time.Now())
		}
	}
	return caller{}, false
}

// ofClaims is the caller who was given a token before.
func (x *exchange) ofClaims(c claims) caller {
	who := caller{name: c.Subject, granted: c.Access}
	if c.GrantType != "refresh_token" {
		who.expires = c.Expires
		return who
	}
	who.grant = grantNone
	switch x.cfg.Auth {
	case AuthOpen:
		who.grant = grantAll
	case AuthEntra:
		who.grant, _ = x.cfg.identity(c.Subject, c.AppID)
	}
	for _, u := range x.cfg.Users {
		if u.Name == c.Subject && (u.Expires.IsZero() || time.Now().Before(u.Expires)) {
			who.grant = u.grant
		}
	}
	return who
}

func grantAll(wishes []access) []access { return wishes }
func grantNone([]access) []access       { return nil }

// grantPull is anonymous pull: whatever repository is asked for, the pull of
// all of them is given, as by ACR.
func grantPull(wishes []access) (granted []access) {
	for _, w := range wishes {
		g := access{"repository", "*", []string{"pull"}}
		if w.Type == "registry" {
			g = access{"registry", "catalog", []string{"*"}}
		}
		if !slices.ContainsFunc(granted, func(a access) bool { return a.Type == g.Type }) {
			granted = append(granted, g)
		}
	}
	return granted
}

// actions are all that a scope map can give.
var actions = []string{"pull", "push", "delete", "metadata_read", "metadata_write"}

// grant narrows wishes to what the user may do.
func (u User) grant(wishes []access) (granted []access) {
	if u.Admin {
		return wishes
	}
	for _, w := range wishes {
		if w.Type == "registry" {
			// Only a scope map for all repositories shows the catalog.
			if u.may("*", "metadata_read") {
				granted = append(granted, w)
			}
			continue
		}
		wanted := w.Actions
		if slices.Contains(wanted, "*") {
			wanted = actions
		}
		g := access{Type: w.Type, Name: w.Name}
		for _, action := range wanted {
			if u.may(w.Name, action) {
				g.Actions = append(g.Actions, action)
			}
		}
		if len(g.Actions) > 0 {
			granted = append(granted, g)
		}
	}
	return granted
}

// ping answers the question whether this is a registry and the login good.
func (x *exchange) ping() error {
	return x.body(http.StatusOK, "application/json; charset=utf-8", []byte("{}"))
}
