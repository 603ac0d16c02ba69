package fs

import (
	"github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/registry"
)

// Media types that package ocispec does not have.
const (
	mediaTypeDockerList    = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeSignedSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	mediaTypeSchema1Layer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediaTypeDockerList
}

// parsed is what could be told from a manifest, whatever its kind. Each field
// that does not have the expected shape counts as absent; a document that is
// no JSON object has none.
type parsed struct {
	mediaType    string
	artifactType string
	config       *ocispec.Descriptor
	layers       []ocispec.Descriptor
	children     []ocispec.Descriptor
	index        bool // has children, be it none
	subject      *ocispec.Descriptor
	annotations  map[string]string
}

// parseManifest reads the manifests of OCI and Docker, lists of them, ORAS
// artifact manifests (blobs) and Docker's schema 1 (fsLayers, newest first).
//
// All of it comes from the bytes, the media type too: what a server said beside
// them is not stored with them, and must not make a difference after a remount.
func parseManifest(raw []byte) parsed {
	var p parsed
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return p
	}
	p.mediaType = mediaTypeOf(fields)
	field(fields, "artifactType", &p.artifactType)
	field(fields, "annotations", &p.annotations)
	p.config = descriptorField(fields, "config")
	p.subject = descriptorField(fields, "subject")
	p.layers = append(descriptors(fields, "layers"), descriptors(fields, "blobs")...)
	for _, l := range listField[struct{ BlobSum digest.Digest }](fields, "fsLayers") {
		if l.BlobSum.Validate() == nil {
			p.layers = append(p.layers, ocispec.Descriptor{MediaType: mediaTypeSchema1Layer, Digest: l.BlobSum})
		}
	}
	if _, has := fields["manifests"]; has || isIndex(p.mediaType) {
		p.index = true
		for _, d := range descriptors(fields, "manifests") {
			if registry.IsBlob(d.MediaType) {
				p.layers = append(p.layers, d)
			} else {
				p.children = append(p.children, d)
			}
		}
	}
	return p
}

// mediaTypeOf is what the manifest says it is. OCI's and Docker's first
// versions do not say it; their shape does.
func mediaTypeOf(fields map[string]json.RawMessage) string {
	var said string
	field(fields, "mediaType", &said)
	has := func(name string) bool { _, ok := fields[name]; return ok }
	switch {
	case said != "":
		return said
	case has("fsLayers") && has("signatures"):
		return mediaTypeSignedSchema1
	case has("fsLayers"):
		return mediaTypeSchema1
	case has("manifests"):
		return ocispec.MediaTypeImageIndex
	case has("config"):
		return ocispec.MediaTypeImageManifest
	}
	return ""
}

// field decodes one field, leaving v as it is where that does not work.
func field[T any](fields map[string]json.RawMessage, name string, v *T) {
	var decoded T
	if raw, ok := fields[name]; ok && json.Unmarshal(raw, &decoded) == nil {
		*v = decoded
	}
}

// listField decodes the elements of a list one by one, so that one of an
// unexpected shape does not cost the others.
func listField[T any](fields map[string]json.RawMessage, name string) []T {
	var raws []json.RawMessage
	field(fields, name, &raws)
	var list []T
	for _, raw := range raws {
		var v T
		if json.Unmarshal(raw, &v) == nil {
			list = append(list, v)
		}
	}
	return list
}

// descriptor is what the tree reads of one. A size that is no int64, or whatever
// else has an unexpected shape, counts as absent: what a digest names is there
// all the same.
type descriptor struct {
	MediaType   lenient[string]            `json:"mediaType"`
	Digest      digest.Digest              `json:"digest"`
	Size        lenient[int64]             `json:"size"`
	Annotations lenient[map[string]string] `json:"annotations"`
	Platform    lenient[*ocispec.Platform] `json:"platform"`
}

func (d descriptor) oci() ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: d.MediaType.value, Digest: d.Digest, Size: d.Size.value,
		Annotations: d.Annotations.value, Platform: d.Platform.value,
	}
}

// lenient is a value that stays zero where it cannot be decoded.
type lenient[T any] struct{ value T }

func (l *lenient[T]) UnmarshalJSON(raw []byte) error {
	var decoded T
	if json.Unmarshal(raw, &decoded) == nil {
		l.value = decoded
	}
	return nil
}

func descriptorField(fields map[string]json.RawMessage, name string) *ocispec.Descriptor {
	var d descriptor
	field(fields, name, &d)
	if d.Digest.Validate() != nil {
		return nil
	}
	return new(d.oci())
}

// descriptors are those of a list that name content.
func descriptors(fields map[string]json.RawMessage, name string) []ocispec.Descriptor {
	var valid []ocispec.Descriptor
	for _, d := range listField[descriptor](fields, name) {
		if d.Digest.Validate() == nil {
			valid = append(valid, d.oci())
		}
	}
	return valid
}
