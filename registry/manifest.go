package registry

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of manifests that image-spec does not name.
const (
	dockerManifest      = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex         = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	ociArtifact         = "application/vnd.oci.artifact.manifest.v1+json"
	orasArtifact        = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// acceptManifests is sent with every request for a manifest. A registry that
// misses the stored type in it converts the manifest, or denies that it has
// one. The last entry is for types that nobody has thought of yet.
var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageIndex, dockerIndex, ocispec.MediaTypeImageManifest, dockerManifest,
	ociArtifact, orasArtifact, dockerSchema1Signed, dockerSchema1, "*/*;q=0.1",
}, ", ")

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerIndex
}

func manifestPath(ref Ref) string {
	return "/v2/" + ref.Repository + "/manifests/" + ref.reference()
}

func (c *Client) manifestCall(op, method string, ref Ref) call {
	k := c.call(op, method, manifestPath(ref), pullScope(ref.Repository)).with("Accept", acceptManifests)
	k = k.with("Accept-Encoding", "identity") // the bytes that have the digest
	k.limit = maxManifest
	return k
}

// Resolve tells what a tag or digest points to: media type, digest and size of
// the manifest. It asks for headers only, unless the registry leaves them out.
func (c *Client) Resolve(ctx context.Context, ref Ref) (Descriptor, error) {
	op := "resolve " + clean(ref.String(), 512)
	if err := ref.checkManifest(op); err != nil {
		return Descriptor{}, err
	}
	a, err := c.fetch(ctx, c.manifestCall(op, http.MethodHead, ref))
	if err != nil {
		return Descriptor{}, err
	}
	switch {
	case a.ok():
		d, complete, err := describe(op, ref, a.header)
		if err != nil || complete {
			return d, err
		}
	case a.status == http.StatusMethodNotAllowed, a.status == http.StatusNotImplemented, a.status == http.StatusBadRequest:
		// No HEAD there.
	default:
		return Descriptor{}, statusError(op, a.status, a.header, nil)
	}
	_, d, err := c.manifest(ctx, op, ref)
	return d, err
}

// describe reads a descriptor from headers alone.
func describe(op string, ref Ref, h http.Header) (d Descriptor, complete bool, err error) {
	d.MediaType = bareMediaType(h.Get("Content-Type"))
	d.Digest = digest.Digest(h.Get("Docker-Content-Digest"))
	if ref.Digest != "" {
		if d.Digest != "" && d.Digest != ref.Digest && d.Digest.Algorithm() == ref.Digest.Algorithm() {
			return Descriptor{}, false, &Error{Op: op, Message: "the registry answered for " + clean(d.Digest.String(), 160), Kind: ErrCorrupt}
		}
		d.Digest = ref.Digest
	}
	size, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	d.Size = size
	complete = err == nil && size > 0 && ValidDigest(d.Digest) && !vague(d.MediaType)
	return d, complete, nil
}

// Manifest returns a manifest's exact bytes, at most 4 MiB, and its
// descriptor. The bytes have been checked against the digest asked for, or
// with a tag against the one the registry names; ErrCorrupt when they differ.
func (c *Client) Manifest(ctx context.Context, ref Ref) ([]byte, Descriptor, error) {
	op := "get manifest " + clean(ref.String(), 512)
	if err := ref.checkManifest(op); err != nil {
		return nil, Descriptor{}, err
	}
	return c.manifest(ctx, op, ref)
}

func (c *Client) manifest(ctx context.Context, op string, ref Ref) ([]byte, Descriptor, error) {
	a, err := c.want(ctx, c.manifestCall(op, http.MethodGet, ref))
	if err != nil {
		return nil, Descriptor{}, err
	}
	d := Descriptor{MediaType: bareMediaType(a.header.Get("Content-Type")), Size: int64(len(a.body))}
	if vague(d.MediaType) {
		d.MediaType = guessMediaType(a.body)
	}
	d.Digest = ref.Digest
	if d.Digest == "" {
		d.Digest = digest.Digest(a.header.Get("Docker-Content-Digest"))
	}
	hashed := a.body
	if d.MediaType == dockerSchema1Signed {
		hashed = schema1Payload(a.body)
	}
	if !ValidDigest(d.Digest) {
		d.Digest = digest.FromBytes(hashed) // the registry names none
	}
	if got := d.Digest.Algorithm().FromBytes(hashed); got != d.Digest {
		return nil, Descriptor{}, &Error{Op: op, Message: "expected " + d.Digest.String() + ", got " + got.String(), Kind: ErrCorrupt}
	}
	return a.body, d, nil
}

func bareMediaType(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return kind
}

// vague media types are those that servers give to any file.
func vague(mediaType string) bool {
	switch mediaType {
	case "", "application/json", "application/octet-stream", "text/plain":
		return true
	}
	return false
}

// guessMediaType is for registries that are little more than a file server.
func guessMediaType(body []byte) string {
	var m struct {
		MediaType     string            `json:"mediaType"`
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
		Signatures    []json.RawMessage `json:"signatures"`
	}
	if json.Unmarshal(body, &m) != nil {
		return "application/octet-stream"
	}
	switch {
	case bareMediaType(m.MediaType) != "":
		return bareMediaType(m.MediaType)
	case m.SchemaVersion == 1 && m.Signatures != nil:
		return dockerSchema1Signed
	case m.SchemaVersion == 1:
		return dockerSchema1
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}
