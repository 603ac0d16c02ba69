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

// reference is the last element of a manifest's path: digest or tag.
func (r Ref) reference() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// check refuses what no registry can have. A name outside the grammar does not
// exist, so that is ErrNotFound, without an exchange.
func (r Ref) check(op string) error {
	message := ""
	switch {
	case !ValidRepository(r.Repository):
		message = "not a repository name"
	case r.Tag != "" && !ValidTag(r.Tag):
		message = "not a tag name"
	case r.Digest != "" && !ValidDigest(r.Digest):
		message = "not a digest"
	default:
		return nil
	}
	return &Error{Op: op, Message: message, Kind: ErrNotFound}
}

// checkManifest is check for operations on tags and manifests only.
func (r Ref) checkManifest(op string) error {
	if r.Tag == "" && r.Digest == "" {
		return &Error{Op: op, Message: "names a repository; a tag or a digest is needed", Kind: ErrNotFound}
	}
	return r.check(op)
}
