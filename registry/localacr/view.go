package localacr

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// view reads one consistent state of the metadata.
type view struct{ tx *bolt.Tx }

// get decodes the record at a key into r and reports whether there is one.
func (v view) get(bucket, k []byte, r record) (bool, error) {
	data := v.tx.Bucket(bucket).Get(k)
	if data == nil {
		return false, nil
	}
	return true, decode(data, r)
}

func (v view) repository(repo string) (r repositoryRecord, ok bool, err error) {
	ok, err = v.get(bucketRepository, key(repo), &r)
	return r, ok, err
}

func (v view) tag(repo, tag string) (t tagRecord, ok bool, err error) {
	ok, err = v.get(bucketTag, key(repo, tag), &t)
	return t, ok, err
}

func (v view) manifest(repo, digest string) (m manifestRecord, ok bool, err error) {
	ok, err = v.get(bucketManifest, key(repo, digest), &m)
	return m, ok, err
}

func (v view) blob(repo, digest string) (b blobRecord, ok bool, err error) {
	ok, err = v.get(bucketBlob, key(repo, digest), &b)
	return b, ok, err
}

// manifestBytes returns a copy of the manifest as it was pushed.
func (v view) manifestBytes(repo, digest string) []byte {
	return bytes.Clone(v.tx.Bucket(bucketManifestBytes).Get(key(repo, digest)))
}

// below calls f with what follows the prefix in each key that has it, in
// order, until f returns false.
func (v view) below(bucket, prefix []byte, f func(rest string) bool) {
	c := v.tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if !f(string(k[len(prefix):])) {
			return
		}
	}
}

// all is below, collected.
func (v view) all(bucket, prefix []byte) (rest []string) {
	v.below(bucket, prefix, func(s string) bool {
		rest = append(rest, s)
		return true
	})
	return rest
}

// any reports whether a key has the prefix.
func (v view) any(bucket, prefix []byte) (found bool) {
	v.below(bucket, prefix, func(string) bool {
		found = true
		return false
	})
	return found
}

func (v view) tagsOf(repo, digest string) []string {
	return v.all(bucketTagTarget, prefix(repo, digest))
}

func (v view) referrersOf(repo, subject string) []string {
	return v.all(bucketReferrer, prefix(repo, subject))
}

// blobUsed reports whether a manifest of the repository needs the blob.
func (v view) blobUsed(repo, digest string) bool {
	return v.any(bucketBlobUse, prefix(repo, digest))
}

// held reports whether any repository has the blob.
func (v view) held(digest string) bool { return v.any(bucketHolder, prefix(digest)) }

// check compares everything that is kept twice, the indexes and the counters,
// with what it is derived from, and returns the first difference.
func (v view) check() error {
	tags, manifests := map[string]int{}, map[string]int{}
	if err := v.each(bucketTag, func(repo, tag string, data []byte) error {
		var t tagRecord
		if err := decode(data, &t); err != nil {
			return err
		}
		tags[repo]++
		if v.tx.Bucket(bucketTagTime).Get(timeKey(repo, t.Updated, tag)) == nil {
			return fmt.Errorf("tag %s:%s is not listed by its time", repo, tag)
		}
		if v.tx.Bucket(bucketTagTarget).Get(key(repo, t.Digest, tag)) == nil {
			return fmt.Errorf("tag %s:%s is not listed by its digest", repo, tag)
		}
		if v.tx.Bucket(bucketManifest).Get(key(repo, t.Digest)) == nil {
			return fmt.Errorf("tag %s:%s points to nothing", repo, tag)
		}
		return nil
	}); err != nil {
		return err
	}
	uses, referrers := 0, 0
	if err := v.each(bucketManifest, func(repo, digest string, data []byte) error {
		var m manifestRecord
		if err := decode(data, &m); err != nil {
			return err
		}
		manifests[repo]++
		if v.tx.Bucket(bucketManifestTime).Get(timeKey(repo, m.Updated, digest)) == nil {
			return fmt.Errorf("manifest %s@%s is not listed by its time", repo, digest)
		}
		p, err := parseManifest(m.MediaType, v.manifestBytes(repo, digest), digest)
		if err != nil {
			return fmt.Errorf("manifest %s@%s is damaged: %w", repo, digest, err)
		}
		for _, d := range p.uses() {
			uses++
			if v.tx.Bucket(bucketBlobUse).Get(key(repo, d, digest)) == nil {
				return fmt.Errorf("manifest %s@%s does not protect its blob %s", repo, digest, d)
			}
		}
		if m.Subject != "" {
			referrers++
			if v.tx.Bucket(bucketReferrer).Get(key(repo, m.Subject, digest)) == nil {
				return fmt.Errorf("manifest %s@%s is not a referrer of its subject", repo, digest)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := v.each(bucketRepository, func(repo, _ string, data []byte) error {
		var r repositoryRecord
		if err := decode(data, &r); err != nil {
			return err
		}
		if r.Tags != tags[repo] || r.Manifests != manifests[repo] || r.Manifests == 0 {
			return fmt.Errorf("repository %s counts %d tags and %d manifests, and has %d and %d", repo, r.Tags, r.Manifests, tags[repo], manifests[repo])
		}
		delete(tags, repo)
		delete(manifests, repo)
		return nil
	}); err != nil {
		return err
	}
	if len(tags)+len(manifests) > 0 {
		return fmt.Errorf("tags or manifests without a repository: %v %v", tags, manifests)
	}
	for _, pair := range []struct {
		derived []byte
		want    int
	}{
		{bucketTagTime, v.count(bucketTag)}, {bucketTagTarget, v.count(bucketTag)},
		{bucketManifestTime, v.count(bucketManifest)}, {bucketManifestBytes, v.count(bucketManifest)},
		{bucketHolder, v.count(bucketBlob)}, {bucketBlobUse, uses}, {bucketReferrer, referrers},
	} {
		if got := v.count(pair.derived); got != pair.want {
			return fmt.Errorf("%s has %d entries, want %d", pair.derived, got, pair.want)
		}
	}
	return nil
}

// each calls f with the two halves of each key.
func (v view) each(bucket []byte, f func(repo, item string, data []byte) error) error {
	return v.tx.Bucket(bucket).ForEach(func(k, data []byte) error {
		repo, item, _ := bytes.Cut(k, []byte{0})
		return f(string(repo), string(item), data)
	})
}

func (v view) count(bucket []byte) int { return v.tx.Bucket(bucket).Stats().KeyN }
