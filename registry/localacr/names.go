package localacr

import (
	"regexp"
)

// ACR's grammar of names. Upper case repositories do not exist.
// sha512 is more than ACR takes; the distribution spec allows it.
var (
	repositoryGrammar = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestGrammar     = regexp.MustCompile(`^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// repositoryLimit is the longest repository name.
const repositoryLimit = 255

func validRepository(s string) bool {
	return len(s) <= repositoryLimit && repositoryGrammar.MatchString(s)
}

func validTag(s string) bool    { return tagGrammar.MatchString(s) }
func validDigest(s string) bool { return digestGrammar.MatchString(s) }
