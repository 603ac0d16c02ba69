package localacr

import (
	"net/http"
	"slices"
)

func (x *exchange) deleteTag() error {
	var t tagRecord
	err := x.store.commit.do(x.r.Context(), func(e edit) error {
		var ok bool
		var err error
		if t, ok, err = e.tag(x.name, x.ref); err != nil || !ok {
			return firstError(err, errTagUnknown())
		}
		if ok, err := e.mayDeleteTag(x.name, x.ref); err != nil || !ok {
			return firstError(err, errLocked())
		}
		return e.deleteTag(x.name, x.ref, instant())
	})
	if err != nil {
		return err
	}
	x.w.Header().Set("X-Ms-Int-Docker-Content-Digest", t.Digest)
	return x.empty(http.StatusAccepted)
}

// deleteManifest deletes a manifest, its tags and its referrers.
func (x *exchange) deleteManifest() error {
	if !validDigest(x.ref) {
		return errUnsupported().with("A manifest can only be deleted by digest.")
	}
	err := x.store.commit.do(x.r.Context(), func(e edit) error {
		if _, ok, err := e.manifest(x.name, x.ref); err != nil || !ok {
			return firstError(err, errManifestNotFound(x.ref))
		}
		doomed := e.withReferrers(x.name, x.ref)
		if ok, err := e.mayDeleteManifests(x.name, doomed); err != nil || !ok {
			return firstError(err, errLocked())
		}
		now := instant()
		for _, digest := range doomed {
			if err := e.deleteManifest(x.name, digest, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.empty(http.StatusAccepted)
}

// withReferrers is a manifest and all that refers to it as their subject, and
// so on.
func (v view) withReferrers(repo, digest string) []string {
	all := []string{digest}
	seen := map[string]bool{digest: true}
	for i := 0; i < len(all); i++ {
		for _, d := range v.referrersOf(repo, all[i]) {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	return all
}

func (x *exchange) deleteRepository() error {
	manifests, tags := []string{}, []string{}
	err := x.store.commit.do(x.r.Context(), func(e edit) error {
		if _, ok, err := e.repository(x.name); err != nil || !ok {
			return firstError(err, errRepositoryNotKnown(x.name))
		}
		if ok, err := e.mayDeleteRepository(x.name); err != nil || !ok {
			return firstError(err, errLocked())
		}
		manifests = slices.Concat(manifests, e.all(bucketManifest, prefix(x.name)))
		tags = slices.Concat(tags, e.all(bucketTag, prefix(x.name)))
		return e.deleteRepository(x.name)
	})
	if err != nil {
		return err
	}
	return x.json(http.StatusAccepted, struct {
		Manifests []string `json:"manifestsDeleted"`
		Tags      []string `json:"tagsDeleted"`
	}{manifests, tags})
}

// deleteBlob takes a blob out of the repository. Other repositories keep
// theirs; the file goes with the last one, when it is collected.
func (x *exchange) deleteBlob() error {
	err := x.store.commit.do(x.r.Context(), func(e edit) error {
		if _, ok, err := e.blob(x.name, x.ref); err != nil || !ok {
			return firstError(err, errBlobUnknown())
		}
		if ok, err := e.mayDelete(x.name); err != nil || !ok {
			return firstError(err, errLocked())
		}
		return e.unlinkBlob(x.name, x.ref)
	})
	if err != nil {
		return err
	}
	return x.empty(http.StatusAccepted)
}
