package localacr

import (
	"net/url"
	"strings"
)

// route is what a URL's path means.
type route struct {
	endpoint Endpoint
	name     string // repository
	ref      string // tag, digest, upload id or, for storage, the blob's digest
}

// fate of a path that is no route.
type fate int

const (
	routed  fate = iota
	unknown      // the front end does not know the path at all
	missed       // a known prefix, and then nothing the grammar takes
)

// parseRoute reads an escaped path. The slashes that structure it are raw;
// names may have theirs, and digests their colon, raw or escaped, which is why
// the path is split first and unescaped afterwards.
func parseRoute(path string) (route, fate) {
	switch path {
	case "/v2/", "/v2":
		return route{endpoint: EndpointPing}, routed
	case "/acr/v1/_catalog", "/v2/_catalog":
		return route{endpoint: EndpointCatalog}, routed
	case "/oauth2/exchange":
		return route{endpoint: EndpointExchange}, routed
	case "/oauth2/token":
		return route{endpoint: EndpointToken}, routed
	}
	if rest, ok := strings.CutPrefix(path, "/acr/v1/_deleted/"); ok {
		return parseDeleted(rest)
	}
	if rest, ok := strings.CutPrefix(path, "/acr/v1/"); ok {
		return parseACR(rest)
	}
	if rest, ok := strings.CutPrefix(path, "/v2/"); ok {
		return parseV2(rest)
	}
	if rt, ok := parseStorage(path); ok {
		return rt, routed
	}
	if strings.HasPrefix(path, "/oauth2/") {
		return route{}, missed
	}
	return route{}, unknown
}

func parseACR(rest string) (route, fate) {
	parts := strings.Split(rest, "/")
	n := len(parts)
	switch {
	// First, since tags may be called _tags and _manifests. Repositories may not.
	case n > 2 && parts[n-2] == "_tags":
		return named(EndpointTag, parts[:n-2], parts[n-1], validTag)
	case n > 1 && parts[n-1] == "_tags":
		return named(EndpointTags, parts[:n-1], "", nil)
	case n > 1 && parts[n-1] == "_manifests":
		return named(EndpointManifests, parts[:n-1], "", nil)
	case n > 2 && parts[n-2] == "_manifests":
		return named(EndpointProperties, parts[:n-2], parts[n-1], validDigest)
	}
	return named(EndpointRepository, parts, "", nil)
}

func parseV2(rest string) (route, fate) {
	parts := strings.Split(rest, "/")
	n := len(parts)
	switch {
	case n > 2 && parts[n-2] == "tags" && parts[n-1] == "list":
		return named(EndpointTagsList, parts[:n-2], "", nil)
	case n > 2 && parts[n-2] == "manifests":
		return named(EndpointManifest, parts[:n-2], parts[n-1], func(s string) bool { return validTag(s) || validDigest(s) })
	case n > 2 && parts[n-2] == "referrers":
		return named(EndpointReferrers, parts[:n-2], parts[n-1], validDigest)
	case n > 2 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		return named(EndpointUploads, parts[:n-2], "", nil)
	case n > 2 && parts[n-2] == "blobs":
		return named(EndpointBlob, parts[:n-2], parts[n-1], validDigest)
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads" && parts[n-1] == "":
		return named(EndpointUploads, parts[:n-3], "", nil)
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return named(EndpointUpload, parts[:n-3], parts[n-1], validUploadID)
	}
	return route{}, missed
}

// parseDeleted reads what follows /acr/v1/_deleted/: soft delete, which is
// always off here.
func parseDeleted(rest string) (route, fate) {
	if rest == "_catalog" {
		return route{endpoint: EndpointDeleted}, routed
	}
	parts := strings.Split(rest, "/")
	n := len(parts)
	switch {
	case n > 1 && (parts[n-1] == "_tags" || parts[n-1] == "_manifests"):
		return named(EndpointDeleted, parts[:n-1], parts[n-1], func(string) bool { return true })
	case n > 2 && parts[n-2] == "_manifests":
		return named(EndpointDeleted, parts[:n-2], parts[n-1], validDigest)
	}
	return route{}, missed
}

// named unescapes and checks the variable parts of a route. A nil check is
// for endpoints without a reference.
func named(e Endpoint, name []string, ref string, check func(string) bool) (route, fate) {
	n, err := url.PathUnescape(strings.Join(name, "/"))
	if err != nil || !validRepository(n) {
		return route{}, missed
	}
	r, err := url.PathUnescape(ref)
	if err != nil || check != nil && !check(r) {
		return route{}, missed
	}
	return route{endpoint: e, name: n, ref: r}, routed
}
