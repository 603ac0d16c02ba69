package localacr

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// Seed puts the sample artifacts in place that the demo shows. Their content
// is fixed, and so are their digests. What is there already stays as it is,
// locks included, and a repository that is locked gets nothing.
//
//	charts/hello                 0.1.0               a Helm chart
//	library/hello-world          v1 v2 latest        images for two platforms; v1 cannot be deleted
//	                             zstd                the same, compressed with zstd
//	                             (untagged)          a release candidate, an SBOM, a signature
//	library/hello-world/docs     latest              a repository below a repository
//	models/tiny                  1.0 latest          files in folders, one of 4 MiB
func (s *Server) Seed(ctx context.Context) error {
	if !s.enter() {
		return errClosed
	}
	defer s.leave()
	p := planter{ctx: ctx, s: s}
	for _, plant := range []func() error{p.helloWorld, p.docs, p.model, p.chart} {
		if err := plant(); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	return nil
}

// planter puts artifacts in place.
type planter struct {
	ctx context.Context
	s   *Server
}

// layer is a blob and how a manifest describes it.
type layer struct {
	mediaType string
	title     string // name of a file, or empty
	data      []byte
	diffID    string // digest of what is packed in it
}

// wireDescriptor is a descriptor as manifests write it.
type wireDescriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *wirePlatform     `json:"platform,omitempty"`
}

type wirePlatform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// wireManifest is an image manifest or, with Manifests, an index.
type wireManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *wireDescriptor   `json:"config,omitempty"`
	Layers        []wireDescriptor  `json:"layers,omitempty"`
	Manifests     []wireDescriptor  `json:"manifests,omitempty"`
	Subject       *wireDescriptor   `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

const (
	typeEmpty = "application/vnd.oci.empty.v1+json"
	titleKey  = "org.opencontainers.image.title"
)

// blob stores a layer or config and returns its descriptor.
func (p planter) blob(repo string, l layer) (wireDescriptor, error) {
	d := wireDescriptor{MediaType: l.mediaType, Digest: digestOf("", l.data), Size: int64(len(l.data))}
	if l.title != "" {
		d.Annotations = map[string]string{titleKey: l.title}
	}
	return d, p.s.take(p.ctx, repo, d.Digest, bytes.NewReader(l.data))
}

// artifact stores a manifest with its blobs, under the tags if there are any.
// The fields of m that are set are kept.
func (p planter) artifact(repo string, m wireManifest, config layer, layers []layer, tags ...string) (wireDescriptor, error) {
	m.SchemaVersion, m.MediaType = 2, typeOCIManifest
	c, err := p.blob(repo, config)
	if err != nil {
		return c, err
	}
	m.Config = &c
	for _, l := range layers {
		d, err := p.blob(repo, l)
		if err != nil {
			return d, err
		}
		m.Layers = append(m.Layers, d)
	}
	return p.manifest(repo, m, tags...)
}

// manifest stores a manifest and the tags, as far as they are not there.
func (p planter) manifest(repo string, m wireManifest, tags ...string) (wireDescriptor, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return wireDescriptor{}, err
	}
	d := wireDescriptor{MediaType: m.MediaType, Digest: digestOf("", data), Size: int64(len(data)), ArtifactType: m.ArtifactType}
	parsed, err := parseManifest(m.MediaType, data, d.Digest)
	if err != nil {
		return d, err
	}
	return d, p.s.store.place(p.ctx, repo, parsed, tags...)
}

// lock takes the right to be deleted from a tag that was just made.
func (p planter) lock(repo, tag string) error {
	return p.s.store.commit.do(p.ctx, func(e edit) error {
		t, ok, err := e.tag(repo, tag)
		if err != nil || !ok {
			return err
		}
		t.Attributes.DeleteEnabled = false
		return e.setTag(repo, tag, t)
	})
}

// has reports whether a tag exists.
func (p planter) has(repo, tag string) (ok bool, err error) {
	err = p.s.store.view(func(v view) (err error) {
		_, ok, err = v.tag(repo, tag)
		return err
	})
	return ok, err
}
