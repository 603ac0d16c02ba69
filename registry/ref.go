package registry

import (
	"github.com/opencontainers/go-digest"
)

// Ref names a repository, or a tag or a manifest in it.
//
// With neither Tag nor Digest it names the repository itself, with a Tag
// alone the tag, with a Digest the manifest.
type Ref struct {
	Repository string
	Tag        string
	Digest     digest.Digest
}

// String is the form people write: team/app, team/app:v1 or team/app@sha256:….
func (r Ref) String() string {
	switch {
	case r.Digest != "":
		return r.Repository + "@" + r.Digest.String()
	case r.Tag != "":
		return r.Repository + ":" + r.Tag
	}
	return r.Repository
}
