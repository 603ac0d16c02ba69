package registry

import (
	_ "crypto/sha512" // go-digest refuses algorithms that are not linked in
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The grammar of the OCI distribution specification. It leaves no room for an
// empty component, for '.', '..', a leading underscore or a NUL, so that what
// passes may become a path of a URL or of a file system.
var repositoryGrammar = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)

const (
	maxRepository = 255 // of the specification, in bytes
	maxTag        = 128
)

// ValidRepository reports whether a registry can have a repository of this name.
func ValidRepository(name string) bool {
	return len(name) <= maxRepository && repositoryGrammar.MatchString(name)
}

// ValidTag reports whether a registry can have a tag of this name:
// [A-Za-z0-9_][A-Za-z0-9._-]{0,127}. Listings ask for each of their entries,
// hence no regular expression here and below.
func ValidTag(tag string) bool {
	if tag == "" || len(tag) > maxTag || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for i := range len(tag) {
		switch c := tag[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// ValidDigest reports whether d is a digest of a known algorithm, as
// digest.Digest.Validate does.
func ValidDigest(d digest.Digest) bool {
	hex, ok := strings.CutPrefix(string(d), "sha256:")
	if !ok {
		return d.Validate() == nil
	}
	if len(hex) != 64 {
		return false
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
