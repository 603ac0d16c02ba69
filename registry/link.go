package registry

import (
	"net/url"
	"strings"
)

// nextLink returns the target of rel="next" in the values of Link headers
// (RFC 8288), or "" when there is none. A link without any rel counts: in an
// answer to a list there is nothing else that it could be.
func nextLink(values []string) string {
	for _, value := range values {
		for value != "" {
			open := strings.IndexByte(value, '<')
			if open < 0 {
				break
			}
			length := strings.IndexByte(value[open:], '>')
			if length < 0 {
				break
			}
			target := value[open+1 : open+length]
			rel, rest := linkRel(value[open+length+1:])
			if target != "" && (rel == nil || hasWord(*rel, "next")) {
				return target
			}
			value = rest
		}
	}
	return ""
}

// linkRel reads the parameters of one link up to the comma that ends it.
func linkRel(params string) (rel *string, rest string) {
	s := scanner{rest: params}
	for {
		s.skip(" \t;")
		if s.rest == "" || s.rest[0] == ',' || s.rest[0] == '<' {
			return rel, s.rest
		}
		word := s.token()
		if word == "" {
			s.skipOne()
			continue
		}
		if name, value, ok := s.parameter(word); ok && rel == nil && strings.EqualFold(name, "rel") {
			rel = &value
		}
	}
}

func hasWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// resolveNext resolves a Link against the page that carried it. Another origin
// is refused: our token would go there.
func resolveNext(page *url.URL, link string) (*url.URL, string) {
	ref, err := url.Parse(link)
	if err != nil {
		return nil, "the link to the next page cannot be read"
	}
	next := page.ResolveReference(ref)
	next.Fragment = ""
	if next.User != nil || !sameOrigin(page, next) {
		return nil, "the link to the next page leads to another host"
	}
	return next, ""
}
