package registry

import (
	"slices"
	"strings"
)

// Azure's access tokens name in their claims what they are good for, and a
// token for every repository is given to whoever may read all of them: to
// anonymous callers whatever they ask for, to others who ask. One such token
// serves a walk through thousands of repositories.

// everywhere is asked for beside what a read needs.
const everywhere = "repository:*:metadata_read,pull"

// widened is the scope ask with the same for all repositories, where that may
// be had: for reads, at Azure's token service.
func (l *logins) widened(how login, ask string) string {
	if _, ok := wideKey(how, ask); !ok || l.narrow.Load() {
		return ask
	}
	return ask + " " + everywhere
}

// wideKey is what a token that serves scope in all repositories is kept by. It
// is false for what only a token of its own serves.
func wideKey(how login, scope string) (key string, ok bool) {
	if how.realm == nil || !strings.HasSuffix(how.realm.Path, "/oauth2/token") {
		return "", false
	}
	kind, rest, _ := strings.Cut(scope, ":")
	name, action, _ := strings.Cut(rest, ":")
	if kind != "repository" || name == "" || action != "pull" && action != "metadata_read" {
		return "", false
	}
	return tokenKey(how, "repository:*:"+action), true
}

// keep stores a token for scope: for the reads of all repositories that its
// claims name, if that one is among them.
func (l *logins) keep(how login, scope string, t token) {
	exact := tokenKey(how, scope)
	if wide, ok := wideKey(how, scope); ok {
		for _, action := range []string{"metadata_read", "pull"} {
			if servesEverywhere(t.value, action) {
				key := tokenKey(how, "repository:*:"+action)
				l.tokens.add(key, t)
				if key == wide {
					exact = ""
				}
			}
		}
	}
	if exact != "" {
		l.tokens.add(exact, t)
	}
}

// kept returns a token for scope that is good at this moment and not the
// refused one, or "". An exact one is for this scope alone.
func (l *logins) kept(how login, scope, refused string, exact bool) string {
	keys := []string{tokenKey(how, scope)}
	if key, ok := wideKey(how, scope); ok && !exact {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if t, ok := l.tokens.get(key); ok && t.fresh() && t.value != refused {
			return t.value
		}
	}
	return ""
}

// drop forgets a token that was refused for scope. One for all repositories
// stays if it was only too narrow here: elsewhere it may do.
func (l *logins) drop(how login, scope, sent string, tooNarrow bool) {
	keys := []string{tokenKey(how, scope)}
	if key, ok := wideKey(how, scope); ok && !tooNarrow {
		keys = append(keys, key)
	}
	for _, key := range keys {
		l.tokens.drop(key, sent)
	}
}

// servesEverywhere reads the claims of an authorization header. The pull that
// anonymous callers are given for all repositories is good for metadata, too.
func servesEverywhere(header, action string) bool {
	var claims struct {
		Subject string `json:"sub"`
		Access  []struct {
			Type, Name string
			Actions    []string
		} `json:"access"`
	}
	decodeClaims(strings.TrimPrefix(header, "Bearer "), &claims)
	for _, a := range claims.Access {
		if a.Type != "repository" || a.Name != "*" {
			continue
		}
		if slices.Contains(a.Actions, action) || slices.Contains(a.Actions, "*") ||
			claims.Subject == anonymousSubject && slices.Contains(a.Actions, "pull") {
			return true
		}
	}
	return false
}

// anonymousSubject is who Azure says an anonymous caller is.
const anonymousSubject = "acr_anon_pull"
