package localacr

import (
	"encoding/json"
	"net/http"
)

// referrer is an entry of a referrers list.
type referrer struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// listReferrers lists the manifests whose subject is the given one, which need
// not exist. A repository that is not there has none.
func (x *exchange) listReferrers() error {
	p, err := x.page()
	if err != nil {
		return err
	}
	filter := x.query.Get("artifactType")
	entries := []referrer{}
	more := false
	err = x.store.lists(func(v view) error {
		begin := prefix(x.name, x.ref)
		var after []byte
		if p.last != "" {
			after = append(begin[:len(begin):len(begin)], p.last...)
		}
		for w := walkFrom(v.tx.Bucket(bucketReferrer).Cursor(), begin, after, false); w.more(); w.next() {
			r, err := v.referrer(x.name, w.rest())
			if err != nil {
				return err
			}
			if filter != "" && r.ArtifactType != filter {
				continue
			}
			if more = len(entries) == p.n; more {
				break
			}
			entries = append(entries, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if filter != "" {
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		var filters []string
		if filter != "" {
			filters = []string{"artifactType", filter}
		}
		x.linkNext(p, entries[len(entries)-1].Digest, filters...)
	}
	body, err := json.Marshal(struct {
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []referrer `json:"manifests"`
	}{2, typeOCIIndex, entries})
	if err != nil {
		return err
	}
	return x.body(http.StatusOK, typeOCIIndex, append(body, '\n'))
}

func (v view) referrer(repo, digest string) (referrer, error) {
	m, _, err := v.manifest(repo, digest)
	if err != nil {
		return referrer{}, err
	}
	p, err := parseManifest(m.MediaType, v.manifestBytes(repo, digest), digest)
	if err != nil {
		return referrer{}, err
	}
	return referrer{m.MediaType, digest, m.Size, p.artifact(), p.Annotations}, nil
}
