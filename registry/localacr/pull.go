package localacr

import (
	"net/http"
	"strings"
)

// getManifest answers GET and HEAD of a manifest.
func (x *exchange) getManifest() error {
	var f found
	accepts := acceptedTypes(x.r)
	err := x.store.view(func(v view) (err error) {
		f, err = v.find(x.name, x.ref, accepts)
		return err
	})
	if err != nil {
		return err
	}
	if f.schema1 {
		if f, err = x.convertSchema1(f); err != nil {
			return err
		}
	}
	etag := `"` + f.digest + `"`
	x.w.Header().Set("Docker-Content-Digest", f.digest)
	x.w.Header().Set("ETag", etag)
	if x.r.Header.Get("If-None-Match") == etag {
		return x.empty(http.StatusNotModified)
	}
	return x.body(http.StatusOK, f.mediaType, f.data)
}

// found is the manifest that a reference led to.
type found struct {
	digest    string
	mediaType string
	data      []byte
	tag       string
	schema1   bool // to be converted for a client of long ago
}

// find resolves a reference and picks what the client understands, as ACR does.
func (v view) find(repo, ref string, accepts map[string]bool) (found, error) {
	f := found{digest: ref}
	if !validDigest(ref) {
		t, ok, err := v.tag(repo, ref)
		if err != nil || !ok {
			return f, firstError(err, errManifestTagNotFound(ref))
		}
		f.tag, f.digest = ref, t.Digest
	}
	m, ok, err := v.manifest(repo, f.digest)
	if err != nil || !ok {
		return f, firstError(err, errManifestNotFound(f.digest).with(struct{ Name, Revision string }{repo, f.digest}))
	}
	if ok, err := v.mayPull(repo, f.tag, f.digest); err != nil || !ok {
		return f, firstError(err, errLocked())
	}
	if what, ok := ociNames[m.MediaType]; ok && !accepts[m.MediaType] {
		return f, refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", what.one+" found, but accept header does not support "+what.many)
	}
	if f.tag != "" && m.MediaType == typeDockerList && !accepts[typeDockerList] {
		if f.digest, m, err = v.defaultChild(repo, f.digest); err != nil {
			return f, err
		}
	}
	f.mediaType, f.data = m.MediaType, v.manifestBytes(repo, f.digest)
	f.schema1 = f.tag != "" && m.MediaType == typeDockerManifest && !accepts[typeDockerManifest]
	return f, nil
}

// ociNames are ACR's words for the types that it refuses to show to clients
// that do not ask for them.
var ociNames = map[string]struct{ one, many string }{
	typeOCIIndex:    {"OCI index", "OCI indexes"},
	typeOCIManifest: {"OCI manifest", "OCI manifests"},
	typeOCIArtifact: {"OCI artifact", "OCI artifacts"},
}

// defaultChild is what a client gets that does not know manifest lists: the
// image for linux on amd64.
func (v view) defaultChild(repo, list string) (string, manifestRecord, error) {
	p, err := parseManifest(typeDockerList, v.manifestBytes(repo, list), list)
	if err != nil {
		return "", manifestRecord{}, err
	}
	for _, d := range p.Manifests {
		if d.Platform == nil || d.Platform.OS != "linux" || d.Platform.Architecture != "amd64" {
			continue
		}
		m, ok, err := v.manifest(repo, d.Digest)
		if err == nil && !ok {
			continue // deleted
		}
		if err == nil && !m.Attributes.ReadEnabled {
			err = errLocked()
		}
		return d.Digest, m, err
	}
	return "", manifestRecord{}, errManifestNotFound(list).with(struct{ Name, Revision string }{repo, list})
}

// acceptedTypes merges all Accept lines. Quality values are not looked at, and
// wildcards mean nothing, as on ACR.
func acceptedTypes(r *http.Request) map[string]bool {
	types := map[string]bool{}
	for _, line := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(item, ";")
			types[strings.TrimSpace(name)] = true
		}
	}
	return types
}
