package registry

import (
	"net/http"
	"net/url"
)

// maxHops bounds a chain of redirects. Registries need one, with a content
// network in between two.
const maxHops = 5

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirectTarget says where resp, the answer to a request for from, leads. The
// problem, when there is one, never repeats the URL: it may be signed.
//
// A registry on https never leads to plain http. Whether the target gets an
// Authorization header is decided by sameOrigin, not here.
func redirectTarget(endpoint, from *url.URL, resp *http.Response) (target *url.URL, problem string) {
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, "a redirect to nowhere"
	}
	ref, err := url.Parse(location)
	if err != nil {
		return nil, "a redirect that cannot be read"
	}
	target = from.ResolveReference(ref)
	target.Fragment = ""
	switch {
	case target.Scheme != "https" && target.Scheme != "http", target.Hostname() == "", target.User != nil:
		return nil, "a redirect that cannot be followed"
	case target.Scheme == "http" && (endpoint.Scheme == "https" || from.Scheme == "https"):
		return nil, "a redirect from https to plain http at " + clean(target.Host, 255) + "; refused"
	case sameOrigin(target, from) && target.RequestURI() == from.RequestURI():
		return nil, "a redirect to itself"
	}
	return target, ""
}
