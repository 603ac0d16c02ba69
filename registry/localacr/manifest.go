package localacr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Media types that ACR treats in a way of their own.
const (
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIArtifact    = "application/vnd.oci.artifact.manifest.v1+json"
	typeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	typeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	typeDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// manifestLimit is the largest manifest that ACR takes.
const manifestLimit = 4 << 20

// parsedManifest is a manifest's bytes and what they say. It is read by its
// fields and not by its media type: ACR keeps types it has never heard of.
type parsedManifest struct {
	digest    string
	data      []byte
	mediaType string

	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *descriptor       `json:"config"`
	Layers       []descriptor      `json:"layers"`
	Blobs        []descriptor      `json:"blobs"` // of ORAS artifact manifests
	Manifests    []descriptor      `json:"manifests"`
	FSLayers     []schema1Layer    `json:"fsLayers"`
	Architecture string            `json:"architecture"` // of schema 1
	Subject      *descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	URLs      []string  `json:"urls"`
	Platform  *platform `json:"platform"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type schema1Layer struct {
	BlobSum string `json:"blobSum"`
}

// foreign reports whether the blob may be absent: it comes from elsewhere.
func (d descriptor) foreign() bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".foreign.") || strings.Contains(d.MediaType, ".nondistributable.")
}

// errOtherDigest says that a manifest is not the one it was announced as.
var errOtherDigest = errors.New("the content does not match the digest")

// parseManifest reads a manifest of a media type; an empty one is taken from
// the body or guessed from its shape. want is the digest that it must have,
// empty for its sha256.
func parseManifest(mediaType string, data []byte, want string) (parsedManifest, error) {
	p := parsedManifest{data: data, mediaType: mediaType}
	if err := json.Unmarshal(data, &p); err != nil {
		if !json.Valid(data) || knownType(mediaType) {
			return p, fmt.Errorf("not a manifest: %w", err)
		}
		// Somebody's own type that uses our field names differently.
		p = parsedManifest{data: data, mediaType: mediaType}
	}
	if p.mediaType == "" {
		p.mediaType = p.guessType()
	}
	if p.mediaType == "" {
		return p, errors.New("the media type is missing")
	}
	if p.MediaType != "" && p.MediaType != p.mediaType {
		return p, fmt.Errorf("mediaType %q differs from the Content-Type", p.MediaType)
	}
	for _, d := range slices.Concat(p.uses(), p.subjects()) {
		if !validDigest(d) {
			return p, fmt.Errorf("%q is not a digest", d)
		}
	}
	payload, err := signedPayload(p.mediaType, data)
	if err != nil {
		return p, err
	}
	algorithm, _, _ := strings.Cut(want, ":")
	p.digest = digestOf(algorithm, payload)
	if want != "" && p.digest != want {
		return p, errOtherDigest
	}
	return p, nil
}

func knownType(mediaType string) bool {
	switch mediaType {
	case "", typeOCIIndex, typeOCIManifest, typeOCIArtifact, typeDockerList, typeDockerManifest, typeDockerSchema1, typeDockerSigned1:
		return true
	}
	return false
}

func (p parsedManifest) guessType() string {
	switch {
	case p.MediaType != "":
		return p.MediaType
	case p.Manifests != nil:
		return typeOCIIndex
	case p.Config != nil:
		return typeOCIManifest
	case p.FSLayers != nil:
		return typeDockerSigned1
	}
	return ""
}

// isIndex reports whether the manifest lists others.
func (p parsedManifest) isIndex() bool { return p.Manifests != nil && p.Config == nil }

// blobDescriptors are the config and all layers.
func (p parsedManifest) blobDescriptors() []descriptor {
	ds := slices.Concat(p.Layers, p.Blobs)
	if p.Config != nil {
		ds = append([]descriptor{*p.Config}, ds...)
	}
	return ds
}

// blobs are the digests of all blobs that the manifest names, each once.
func (p parsedManifest) blobs() []string {
	var ds []string
	for _, d := range p.blobDescriptors() {
		ds = append(ds, d.Digest)
	}
	for _, l := range p.FSLayers {
		ds = append(ds, l.BlobSum)
	}
	return distinct(ds)
}

// required are the blobs that must be in the repository before the manifest:
// not the foreign ones, and not those of schema 1, which ACR does not check.
func (p parsedManifest) required() []string {
	var ds []string
	for _, d := range p.blobDescriptors() {
		if !d.foreign() {
			ds = append(ds, d.Digest)
		}
	}
	return distinct(ds)
}

func (p parsedManifest) children() []string {
	var ds []string
	for _, d := range p.Manifests {
		ds = append(ds, d.Digest)
	}
	return distinct(ds)
}

// uses are all that is kept for the manifest's sake if it is a blob: an index's
// children may be some.
func (p parsedManifest) uses() []string { return distinct(slices.Concat(p.blobs(), p.children())) }

func (p parsedManifest) subjects() []string {
	if p.Subject == nil {
		return nil
	}
	return []string{p.Subject.Digest}
}

// artifact is the type under which a manifest is listed as a referrer.
func (p parsedManifest) artifact() string {
	if p.ArtifactType == "" && p.Config != nil {
		return p.Config.MediaType
	}
	return p.ArtifactType
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// signedPayload is what a manifest's digest is taken of: its bytes, but of a
// signed schema 1 manifest only the part that the signatures sign. Which part
// that is they say themselves, so it must be a schema 1 document and all else
// the signatures: a push could take the digest of another manifest otherwise.
func signedPayload(mediaType string, data []byte) ([]byte, error) {
	if mediaType != typeDockerSigned1 && mediaType != typeDockerSchema1 {
		return data, nil
	}
	var envelope struct {
		Signatures []struct {
			Protected string `json:"protected"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, err
	}
	if len(envelope.Signatures) == 0 {
		return data, nil
	}
	var format struct {
		Length int    `json:"formatLength"`
		Tail   string `json:"formatTail"`
	}
	protected, err := base64.RawURLEncoding.DecodeString(envelope.Signatures[0].Protected)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if err := json.Unmarshal(protected, &format); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	tail, err := base64.RawURLEncoding.DecodeString(format.Tail)
	if err != nil || format.Length < 0 || format.Length > len(data) || string(bytes.TrimSpace(tail)) != "}" {
		return nil, errors.New("signature: wrong format of the payload")
	}
	payload := slices.Concat(data[:format.Length], tail)
	if !unsignedSchema1(payload) || !onlySignatures(data[format.Length:]) {
		return nil, errors.New("signature: not of this manifest")
	}
	return payload, nil
}

// unsignedSchema1 reports whether data is a schema 1 document without
// signatures.
func unsignedSchema1(data []byte) bool {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		Signatures    json.RawMessage `json:"signatures"`
	}
	return json.Unmarshal(data, &m) == nil && m.SchemaVersion == 1 && m.Signatures == nil
}

// onlySignatures reports whether the rest of a document, after the part that
// was signed, is its signatures and nothing else.
func onlySignatures(rest []byte) bool {
	rest, more := bytes.CutPrefix(bytes.TrimSpace(rest), []byte(","))
	var fields map[string]json.RawMessage
	if !more || json.Unmarshal(slices.Concat([]byte("{"), rest), &fields) != nil {
		return false
	}
	return len(fields) == 1 && fields["signatures"] != nil
}
