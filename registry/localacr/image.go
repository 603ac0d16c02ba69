package localacr

import (
	"context"
	"encoding/json"
	"io"
	"slices"
)

// push stores a manifest in the repository and points the tag, if one is
// given, to it. What it needs must be there before.
func (st *store) push(ctx context.Context, repo, tag string, p parsedManifest) error {
	arch, os := st.platform(p)
	return st.commit.do(ctx, func(e edit) error {
		if ok, err := e.mayPush(repo, tag, p.digest); err != nil || !ok {
			return firstError(err, errLocked())
		}
		m, err := e.describe(st.files, repo, p)
		if err != nil {
			return err
		}
		if m.Architecture == "" && m.OS == "" {
			m.Architecture, m.OS = arch, os
		}
		now := instant()
		m.Created, m.Updated = now, now
		if err := e.putManifest(repo, p, m); err != nil || tag == "" {
			return err
		}
		return e.putTag(repo, tag, p.digest, now)
	})
}

// place is push for who only adds: a manifest that is there and tags that are
// there stay as they are, wherever the tags point by now, and what a lock
// forbids is left out.
func (st *store) place(ctx context.Context, repo string, p parsedManifest, tags ...string) error {
	var missing []string
	err := st.view(func(v view) error {
		for _, tag := range tags {
			if _, ok, err := v.tag(repo, tag); err != nil {
				return err
			} else if !ok {
				missing = append(missing, tag)
			}
		}
		_, known, err := v.manifest(repo, p.digest)
		if !known && len(missing) == 0 {
			missing = []string{""}
		}
		missing = slices.DeleteFunc(missing, func(tag string) bool {
			may, mayErr := v.mayPush(repo, tag, p.digest)
			err = firstError(err, mayErr)
			return !may
		})
		return err
	})
	if err != nil {
		return err
	}
	for _, tag := range missing {
		if err := st.push(ctx, repo, tag, p); err != nil {
			return err
		}
	}
	return nil
}

// describe makes a manifest's record, and fails with all the blobs and
// children that the repository lacks; a blob whose file is damaged is one. A
// child may be a blob: BuildKit's cache is an index of layers and a config.
func (v view) describe(files files, repo string, p parsedManifest) (manifestRecord, error) {
	m := manifestRecord{MediaType: p.mediaType, Size: int64(len(p.data)), Attributes: unlocked}
	var missing []string
	for _, digest := range p.required() {
		_, ok, err := v.wholeBlob(files, repo, digest)
		if err != nil {
			return m, err
		}
		if !ok {
			missing = append(missing, digest)
		}
	}
	total := int64(0)
	for _, d := range p.Manifests {
		child, ok, err := v.manifest(repo, d.Digest)
		if err == nil && !ok {
			child.ImageSize, ok, err = v.wholeBlob(files, repo, d.Digest)
		}
		if err != nil {
			return m, err
		}
		if !ok {
			missing = append(missing, d.Digest)
		}
		total += child.ImageSize
		ref := reference{Digest: d.Digest}
		if d.Platform != nil {
			ref.Architecture, ref.OS = d.Platform.Architecture, d.Platform.OS
		}
		m.References = append(m.References, ref)
	}
	if len(missing) > 0 {
		return m, errBlobsMissing(distinct(missing))
	}
	for _, d := range p.blobDescriptors() {
		total += max(d.Size, 0)
	}
	// A manifest without any layer counts as nothing at all.
	if p.isIndex() || len(p.Layers)+len(p.Blobs) > 0 {
		m.ImageSize = total + m.Size
	}
	if p.Config != nil {
		m.ConfigMediaType = p.Config.MediaType
	}
	if p.Subject != nil {
		m.Subject = p.Subject.Digest
	}
	return m, nil
}

// wholeBlob returns the size of a blob that the repository has, if its file is
// not damaged.
func (v view) wholeBlob(files files, repo, digest string) (size int64, ok bool, err error) {
	b, ok, err := v.blob(repo, digest)
	if err == nil && ok {
		ok, err = files.whole(digest, b.Size)
	}
	return b.Size, ok, err
}

// configLimit is the largest image config that is looked into.
const configLimit = 4 << 20

// platform is what an image's config says it runs on.
func (st *store) platform(p parsedManifest) (architecture, os string) {
	if p.Config == nil {
		return p.Architecture, "" // only schema 1 has one of its own
	}
	if t := p.Config.MediaType; t != typeOCIConfig && t != typeDockerConfig {
		return "", ""
	}
	f, err := st.files.open(p.Config.Digest)
	if err != nil {
		return "", "" // absent: push says so
	}
	defer f.Close()
	var config platform
	if err := json.NewDecoder(io.LimitReader(f, configLimit)).Decode(&config); err != nil {
		return "", ""
	}
	return config.Architecture, config.OS
}
