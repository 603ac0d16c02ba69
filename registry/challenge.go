package registry

import (
	"net/url"
	"strings"
)

// challenge is one demand of a WWW-Authenticate header (RFC 7235): a scheme in
// lower case and its parameters, names in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate headers. A value may
// hold several challenges, separated by the same commas that separate
// parameters, and quoted strings may hold commas. What cannot be understood is
// skipped: one strange scheme must not hide the one we know.
func parseChallenges(values []string) []challenge {
	var found []challenge
	for _, value := range values {
		s := scanner{rest: value}
		for s.rest != "" {
			s.skip(" \t,")
			word := s.token()
			if word == "" {
				s.skipOne()
				continue
			}
			if name, val, ok := s.parameter(word); ok {
				if len(found) > 0 {
					found[len(found)-1].set(name, val)
				}
				continue
			}
			found = append(found, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			s.skipToken68()
		}
	}
	return found
}

// set keeps the first of a repeated parameter, as a repetition is malformed.
func (c challenge) set(name, value string) {
	name = strings.ToLower(name)
	if _, ok := c.params[name]; !ok {
		c.params[name] = value
	}
}

// login is what a challenge asks for: with a realm a token from there, without
// one Basic credentials with every request.
type login struct {
	realm     *url.URL
	service   string
	scope     string
	tooNarrow bool // the token that was sent is good, but not for this
}

// chooseLogin picks the demand that we can meet: Bearer before Basic. ok is
// false when there is none.
func chooseLogin(challenges []challenge) (l login, ok bool) {
	for _, c := range challenges {
		if c.scheme != "bearer" {
			continue
		}
		realm, err := url.Parse(c.params["realm"])
		if err != nil || realm.Hostname() == "" || realm.User != nil || (realm.Scheme != "https" && realm.Scheme != "http") {
			continue
		}
		realm.Fragment = ""
		return login{realm: realm, service: c.params["service"], scope: c.params["scope"], tooNarrow: c.params["error"] == "insufficient_scope"}, true
	}
	for _, c := range challenges {
		if c.scheme == "basic" {
			return login{}, true
		}
	}
	return login{}, false
}

// scanner walks over a header value.
type scanner struct{ rest string }

func (s *scanner) skip(chars string) { s.rest = strings.TrimLeft(s.rest, chars) }

func (s *scanner) skipOne() {
	if s.rest != "" {
		s.rest = s.rest[1:]
	}
}

func (s *scanner) token() string {
	i := 0
	for i < len(s.rest) && isTokenChar(s.rest[i]) {
		i++
	}
	word := s.rest[:i]
	s.rest = s.rest[i:]
	return word
}

// parameter reads the rest of name=value, or nothing when word is not the name
// of a parameter.
func (s *scanner) parameter(word string) (name, value string, ok bool) {
	after := strings.TrimLeft(s.rest, " \t")
	if !strings.HasPrefix(after, "=") {
		return "", "", false
	}
	after = strings.TrimLeft(after[1:], " \t")
	if !strings.HasPrefix(after, `"`) {
		s.rest = after
		return word, s.token(), true
	}
	var b strings.Builder
	for i := 1; i < len(after); i++ {
		switch {
		case after[i] == '\\' && i+1 < len(after):
			i++
			b.WriteByte(after[i])
		case after[i] == '"':
			s.rest = after[i+1:]
			return word, b.String(), true
		default:
			b.WriteByte(after[i])
		}
	}
	s.rest = "" // the quote never ends
	return word, b.String(), true
}

// skipToken68 skips the blob that schemes like Negotiate put in place of
// parameters.
func (s *scanner) skipToken68() {
	after := strings.TrimLeft(s.rest, " ")
	i := 0
	for i < len(after) && (isTokenChar(after[i]) || after[i] == '/') {
		i++
	}
	j := i
	for j < len(after) && after[j] == '=' {
		j++
	}
	if end := strings.TrimLeft(after[j:], " \t"); i > 0 && (end == "" || end[0] == ',') {
		s.rest = end
	}
}

func isTokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(c))
}
