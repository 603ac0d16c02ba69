package registry

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor says what a piece of content is: its media type, its digest and
// its size in bytes.
type Descriptor = ocispec.Descriptor

// Access holds the four flags that Azure Container Registry keeps for every
// repository, tag and manifest (its "changeableAttributes").
//
// The zero value means that the registry keeps no flags: Known is false, and
// the four flags say nothing.
type Access struct {
	Known     bool
	CanDelete bool
	CanWrite  bool
	CanList   bool
	CanRead   bool
}

// AccessPatch changes the flags whose pointer is set and leaves the others as
// they are on the registry.
type AccessPatch struct {
	CanDelete *bool
	CanWrite  *bool
	CanList   *bool
	CanRead   *bool
}

// Properties are what a registry tells about a repository, a tag or a
// manifest. Fields that the registry does not keep are zero; on a plain OCI
// registry that is all of them but Digest, MediaType and Tags, and Architecture
// and OS of what an index tells them of.
type Properties struct {
	Created time.Time
	Updated time.Time
	Access  Access

	// Of repositories.
	ManifestCount int
	TagCount      int

	// Of tags and manifests. The digest of a tag is empty where a listing
	// does not tell it, as on plain OCI registries; Client.Resolve asks.
	Digest digest.Digest

	// Of manifests.
	MediaType       string
	ConfigMediaType string
	Architecture    string
	OS              string
	Size            int64 // the image's size in bytes as the registry counts it, not the manifest's
	Tags            []string
}

// Tag is an entry of a tag listing.
type Tag struct {
	Name       string
	Properties Properties
}

// Order is the order of a listing of tags or manifests.
type Order string

const (
	// OrderNatural is by name, and by digest for manifests.
	OrderNatural Order = ""
	// OrderNewestFirst is by the time of the last update, newest first.
	OrderNewestFirst Order = "timedesc"
	// OrderOldestFirst is by the time of the last update, oldest first.
	OrderOldestFirst Order = "timeasc"
)

// ListOptions narrows a listing. The zero value lists everything in natural
// order. Plain OCI registries keep no times and list in natural order
// whatever Order says.
type ListOptions struct {
	Order  Order
	Digest digest.Digest // only the tags that point to this manifest; ignored for manifests
}
