package registry

import (
	_ "crypto/sha512" // go-digest refuses algorithms that are not linked in
	"regexp"

	"github.com/opencontainers/go-digest"
)

// The grammar of the OCI distribution specification. It leaves no room for an
// empty component, for '.', '..', a leading underscore or a NUL, so that what
// passes may become a path of a URL or of a file system.
var (
	repositoryGrammar = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

const maxRepository = 255 // of the specification, in bytes

func validRepository(name string) bool {
	return len(name) <= maxRepository && repositoryGrammar.MatchString(name)
}

func validTag(tag string) bool { return tagGrammar.MatchString(tag) }

func validDigest(d digest.Digest) bool { return d.Validate() == nil }
