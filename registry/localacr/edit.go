package localacr

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// edit changes the metadata and keeps indexes and counters in step. Its
// methods do what they are told; whether it is allowed was asked before.
type edit struct{ view }

func (e edit) put(bucket, k []byte, r record) error { return e.tx.Bucket(bucket).Put(k, encode(r)) }

// mark puts a key that has no value.
func (e edit) mark(bucket, k []byte) error { return e.tx.Bucket(bucket).Put(k, []byte{}) }

func (e edit) remove(bucket, k []byte) error { return e.tx.Bucket(bucket).Delete(k) }

// countUp adds to a repository's counters and sets its time. A repository
// begins with its first manifest and ends with its last.
func (e edit) countUp(repo string, manifests, tags int, now time.Time) error {
	r, ok, err := e.repository(repo)
	if err != nil {
		return err
	}
	if !ok {
		r = repositoryRecord{Created: now, Attributes: unlocked}
	}
	r.Manifests += manifests
	r.Tags += tags
	r.Updated = now
	if r.Manifests <= 0 {
		return e.remove(bucketRepository, key(repo))
	}
	return e.put(bucketRepository, key(repo), &r)
}

func (e edit) putRepository(repo string, r repositoryRecord) error {
	return e.put(bucketRepository, key(repo), &r)
}

// putTag points a tag to a manifest, new or moved.
func (e edit) putTag(repo, tag, digest string, now time.Time) error {
	t, ok, err := e.tag(repo, tag)
	if err != nil {
		return err
	}
	created := 0
	if ok {
		err = firstError(
			e.remove(bucketTagTime, timeKey(repo, t.Updated, tag)),
			e.remove(bucketTagTarget, key(repo, t.Digest, tag)))
	} else {
		t = tagRecord{Created: now, Attributes: unlocked}
		created = 1
	}
	t.Digest, t.Updated = digest, now
	return firstError(err,
		e.put(bucketTag, key(repo, tag), &t),
		e.mark(bucketTagTime, timeKey(repo, now, tag)),
		e.mark(bucketTagTarget, key(repo, digest, tag)),
		e.countUp(repo, 0, created, now))
}

// setTag changes a tag's record in place; digest and times stay.
func (e edit) setTag(repo, tag string, t tagRecord) error {
	return e.put(bucketTag, key(repo, tag), &t)
}

func (e edit) deleteTag(repo, tag string, now time.Time) error {
	t, ok, err := e.tag(repo, tag)
	if err != nil || !ok {
		return err
	}
	return firstError(
		e.remove(bucketTag, key(repo, tag)),
		e.remove(bucketTagTime, timeKey(repo, t.Updated, tag)),
		e.remove(bucketTagTarget, key(repo, t.Digest, tag)),
		e.countUp(repo, 0, -1, now))
}

// putManifest stores a manifest. Of one that is known only the time of the
// last update changes.
func (e edit) putManifest(repo string, p parsedManifest, m manifestRecord) error {
	k := key(repo, p.digest)
	old, known, err := e.manifest(repo, p.digest)
	if err != nil {
		return err
	}
	if known {
		now := m.Updated
		m, m.Updated = old, now
		return firstError(
			e.remove(bucketManifestTime, timeKey(repo, old.Updated, p.digest)),
			e.mark(bucketManifestTime, timeKey(repo, now, p.digest)),
			e.put(bucketManifest, k, &m),
			e.countUp(repo, 0, 0, now))
	}
	for _, d := range p.uses() {
		if err := e.mark(bucketBlobUse, key(repo, d, p.digest)); err != nil {
			return err
		}
	}
	if m.Subject != "" {
		if err := e.mark(bucketReferrer, key(repo, m.Subject, p.digest)); err != nil {
			return err
		}
	}
	return firstError(
		e.put(bucketManifest, k, &m),
		e.tx.Bucket(bucketManifestBytes).Put(k, p.data),
		e.mark(bucketManifestTime, timeKey(repo, m.Updated, p.digest)),
		e.countUp(repo, 1, 0, m.Updated))
}

// setManifest changes a manifest's record in place; its times stay.
func (e edit) setManifest(repo, digest string, m manifestRecord) error {
	return e.put(bucketManifest, key(repo, digest), &m)
}

// deleteManifest removes a manifest and its tags. Its referrers are the
// caller's business.
func (e edit) deleteManifest(repo, digest string, now time.Time) error {
	m, ok, err := e.manifest(repo, digest)
	if err != nil || !ok {
		return err
	}
	for _, tag := range e.tagsOf(repo, digest) {
		if err := e.deleteTag(repo, tag, now); err != nil {
			return err
		}
	}
	p, err := parseManifest(m.MediaType, e.manifestBytes(repo, digest), digest)
	if err != nil {
		return err
	}
	for _, d := range p.uses() {
		if err := e.remove(bucketBlobUse, key(repo, d, digest)); err != nil {
			return err
		}
	}
	if m.Subject != "" {
		if err := e.remove(bucketReferrer, key(repo, m.Subject, digest)); err != nil {
			return err
		}
	}
	k := key(repo, digest)
	return firstError(
		e.remove(bucketManifest, k),
		e.remove(bucketManifestBytes, k),
		e.remove(bucketManifestTime, timeKey(repo, m.Updated, digest)),
		e.countUp(repo, -1, 0, now))
}

// linkBlob lets a repository have a blob whose file is in place.
func (e edit) linkBlob(repo, digest string, size int64, now time.Time) error {
	return firstError(
		e.put(bucketBlob, key(repo, digest), &blobRecord{Size: size, Linked: now}),
		e.mark(bucketHolder, key(digest, repo)))
}

func (e edit) unlinkBlob(repo, digest string) error {
	return firstError(
		e.remove(bucketBlob, key(repo, digest)),
		e.remove(bucketHolder, key(digest, repo)))
}

// deleteRepository removes everything that bears the repository's name.
func (e edit) deleteRepository(repo string) error {
	for _, digest := range e.all(bucketBlob, prefix(repo)) {
		if err := e.unlinkBlob(repo, digest); err != nil {
			return err
		}
	}
	for _, b := range [][]byte{bucketTag, bucketTagTime, bucketTagTarget, bucketManifest, bucketManifestTime, bucketManifestBytes, bucketReferrer, bucketBlobUse} {
		if err := e.removeBelow(b, prefix(repo)); err != nil {
			return err
		}
	}
	return e.remove(bucketRepository, key(repo))
}

// removeBelow deletes all keys that have the prefix.
func (e edit) removeBelow(bucket, prefix []byte) error {
	b := e.tx.Bucket(bucket)
	return removeKeys(b, prefix, e.all(bucket, prefix))
}

func removeKeys(b *bolt.Bucket, prefix []byte, rests []string) error {
	for _, rest := range rests {
		if err := b.Delete(append(prefix[:len(prefix):len(prefix)], rest...)); err != nil {
			return err
		}
	}
	return nil
}
