package localacr

// ACR's lock matrix. Three levels keep their flags by themselves;
// what is allowed is what all levels on the way allow. Existence is asked
// before: a thing that is locked and absent is absent.

// mayPull reports whether a manifest can be read, by a tag if one is given.
func (v view) mayPull(repo, tag, digest string) (bool, error) {
	r, _, err := v.repository(repo)
	if err != nil || !r.Attributes.ReadEnabled {
		return false, err
	}
	if tag != "" {
		t, _, err := v.tag(repo, tag)
		if err != nil || !t.Attributes.ReadEnabled {
			return false, err
		}
	}
	m, _, err := v.manifest(repo, digest)
	return m.Attributes.ReadEnabled, err
}

// mayPullBlob reports whether blobs can be read: of a repository that has no
// manifest yet, always.
func (v view) mayPullBlob(repo string) (bool, error) {
	r, ok, err := v.repository(repo)
	return !ok || r.Attributes.ReadEnabled, err
}

// mayPush reports whether a manifest can be pushed, to a tag if one is given.
// Only a push by digest counts as writing to the manifest itself; a new tag on
// a locked one is allowed.
func (v view) mayPush(repo, tag, digest string) (bool, error) {
	r, ok, err := v.repository(repo)
	if err != nil || !ok {
		return !ok, err
	}
	if !r.Attributes.WriteEnabled {
		return false, nil
	}
	if tag != "" {
		t, ok, err := v.tag(repo, tag)
		return !ok || t.Attributes.WriteEnabled, err
	}
	m, ok, err := v.manifest(repo, digest)
	return !ok || m.Attributes.WriteEnabled, err
}

// mayDelete reports whether anything in the repository can be deleted: only
// its write flag reaches down to what is in it.
func (v view) mayDelete(repo string) (bool, error) {
	r, ok, err := v.repository(repo)
	return !ok || r.Attributes.WriteEnabled, err
}

func (v view) mayDeleteTag(repo, tag string) (bool, error) {
	if ok, err := v.mayDelete(repo); !ok {
		return false, err
	}
	t, _, err := v.tag(repo, tag)
	return t.Attributes.removable(), err
}

// mayDeleteManifests reports whether these manifests can go, with their tags.
func (v view) mayDeleteManifests(repo string, digests []string) (bool, error) {
	if ok, err := v.mayDelete(repo); !ok {
		return false, err
	}
	for _, digest := range digests {
		m, _, err := v.manifest(repo, digest)
		if err != nil || !m.Attributes.removable() {
			return false, err
		}
		for _, tag := range v.tagsOf(repo, digest) {
			t, _, err := v.tag(repo, tag)
			if err != nil || !t.Attributes.removable() {
				return false, err
			}
		}
	}
	return true, nil
}

// mayDeleteRepository also asks every tag and every manifest.
func (v view) mayDeleteRepository(repo string) (bool, error) {
	r, _, err := v.repository(repo)
	if err != nil || !r.Attributes.removable() {
		return false, err
	}
	return v.mayDeleteManifests(repo, v.all(bucketManifest, prefix(repo)))
}
