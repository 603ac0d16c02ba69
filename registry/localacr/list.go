package localacr

import (
	"net/http"
	"time"
)

// listRepositories is the catalog, on /acr/v1 and on /v2.
func (x *exchange) listRepositories() error {
	p, err := x.page()
	if err != nil {
		return err
	}
	names := []string{}
	more := false
	err = x.store.lists(func(v view) error {
		var after []byte
		if p.last != "" {
			after = key(p.last)
		}
		for w := walkFrom(v.tx.Bucket(bucketRepository).Cursor(), nil, after, false); w.more(); w.next() {
			var r repositoryRecord
			if err := decode(w.v, &r); err != nil {
				return err
			}
			if !r.Attributes.ListEnabled {
				continue
			}
			if more = len(names) == p.n; more {
				break
			}
			names = append(names, w.rest())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if more {
		x.linkNext(p, names[len(names)-1])
	}
	return x.json(http.StatusOK, map[string][]string{"repositories": names})
}

// tagEntry is a tag on the wire.
type tagEntry struct {
	Name       string     `json:"name"`
	Digest     string     `json:"digest"`
	Created    time.Time  `json:"createdTime"`
	Updated    time.Time  `json:"lastUpdateTime"`
	Signed     bool       `json:"signed"` // Docker Content Trust, which nobody here has
	Attributes attributes `json:"changeableAttributes"`
}

func (t tagRecord) entry(name string) tagEntry {
	return tagEntry{name, t.Digest, t.Created, t.Updated, false, t.Attributes}
}

// pageOfTags reads the asked page of the repository's tags and sets the Link.
func (x *exchange) pageOfTags() ([]tagEntry, error) {
	p, err := x.page()
	if err != nil {
		return nil, err
	}
	entries := []tagEntry{}
	more := false
	var filters []string
	digest := x.query.Get("digest")
	if digest != "" {
		filters = []string{"digest", digest}
	}
	err = x.store.lists(func(v view) error {
		if _, ok, err := v.repository(x.name); err != nil || !ok {
			return firstError(err, errRepositoryNotFound(x.name))
		}
		w, item, err := x.walkList(v, p, digest)
		if err != nil {
			return err
		}
		for ; w.more(); w.next() {
			name := item(w)
			t, _, err := v.tag(x.name, name)
			if err != nil {
				return err
			}
			if !t.Attributes.ListEnabled || digest != "" && t.Digest != digest {
				continue
			}
			if more = len(entries) == p.n; more {
				break
			}
			entries = append(entries, t.entry(name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if more && p.n > 0 {
		end := entries[len(entries)-1]
		x.linkNext(p, end.Name, filters...)
		x.cursors.remember(EndpointTags, x.name, end.Name, p.order, end.Updated)
	}
	return entries, nil
}

// walkList begins a walk over the repository's tags or manifests in the order
// of the page, and says how to get the item's name from a key.
func (x *exchange) walkList(v view, p page, digest string) (*walk, func(*walk) string, error) {
	list, byName, byTime := EndpointTags, bucketTag, bucketTagTime
	if x.endpoint == EndpointManifests {
		list, byName, byTime = EndpointManifests, bucketManifest, bucketManifestTime
	}
	if p.order == "" {
		begin := prefix(x.name)
		if digest != "" {
			byName, begin = bucketTagTarget, prefix(x.name, digest)
		}
		var after []byte
		if p.last != "" {
			after = append(begin[:len(begin):len(begin)], p.last...)
		}
		return walkFrom(v.tx.Bucket(byName).Cursor(), begin, after, false), (*walk).rest, nil
	}
	var after []byte
	if p.last != "" {
		t, ok := x.cursors.find(list, x.name, p.last, p.order)
		if !ok {
			var err error
			if t, err = x.updated(v, list, p.last); err != nil {
				return nil, nil, err
			}
		}
		after = timeKey(x.name, t, p.last)
	}
	item := func(w *walk) string { return timeKeyItem(x.name, w.k) }
	return walkFrom(v.tx.Bucket(byTime).Cursor(), prefix(x.name), after, p.order == "timedesc"), item, nil
}

// updated is the time by which a tag or manifest is listed.
func (x *exchange) updated(v view, list Endpoint, item string) (time.Time, error) {
	if list == EndpointTags {
		t, ok, err := v.tag(x.name, item)
		if !ok {
			err = firstError(err, errTagUnknown())
		}
		return t.Updated, err
	}
	m, ok, err := v.manifest(x.name, item)
	if !ok {
		err = firstError(err, errManifestUnknown())
	}
	return m.Updated, err
}

func (x *exchange) listTags() error {
	entries, err := x.pageOfTags()
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, struct {
		Registry  string     `json:"registry"`
		ImageName string     `json:"imageName"`
		Tags      []tagEntry `json:"tags"`
	}{x.registry(), x.name, entries})
}

// listTagNames is the twin that the distribution spec defines.
func (x *exchange) listTagNames() error {
	entries, err := x.pageOfTags()
	if err != nil {
		return err
	}
	names := []string{}
	for _, t := range entries {
		names = append(names, t.Name)
	}
	return x.json(http.StatusOK, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{x.name, names})
}

// manifestEntry is a manifest's properties on the wire.
type manifestEntry struct {
	Digest          string      `json:"digest"`
	ImageSize       int64       `json:"imageSize"`
	Created         time.Time   `json:"createdTime"`
	Updated         time.Time   `json:"lastUpdateTime"`
	Architecture    string      `json:"architecture,omitempty"`
	OS              string      `json:"os,omitempty"`
	MediaType       string      `json:"mediaType"`
	ConfigMediaType string      `json:"configMediaType,omitempty"`
	Tags            []string    `json:"tags,omitempty"`
	Attributes      attributes  `json:"changeableAttributes"`
	References      []reference `json:"references,omitempty"`
}

// entry is what a list shows; a single GET adds the references.
func (m manifestRecord) entry(digest string, tags []string) manifestEntry {
	return manifestEntry{digest, m.ImageSize, m.Created, m.Updated, m.Architecture, m.OS, m.MediaType, m.ConfigMediaType, tags, m.Attributes, nil}
}

func (x *exchange) listManifests() error {
	p, err := x.page()
	if err != nil {
		return err
	}
	entries := []manifestEntry{}
	more := false
	err = x.store.lists(func(v view) error {
		if _, ok, err := v.repository(x.name); err != nil || !ok {
			return firstError(err, errRepositoryNotFound(x.name))
		}
		w, item, err := x.walkList(v, p, "")
		if err != nil {
			return err
		}
		for ; w.more(); w.next() {
			digest := item(w)
			m, _, err := v.manifest(x.name, digest)
			if err != nil {
				return err
			}
			if !m.Attributes.ListEnabled {
				continue
			}
			if more = len(entries) == p.n; more {
				break
			}
			if p.order != "" {
				// ACR leaves these two out of lists by time.
				m.Attributes.QuarantineDetails, m.Attributes.QuarantineState = "", ""
			}
			entries = append(entries, m.entry(digest, v.tagsOf(x.name, digest)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if more {
		end := entries[len(entries)-1]
		x.linkNext(p, end.Digest)
		x.cursors.remember(EndpointManifests, x.name, end.Digest, p.order, end.Updated)
	}
	return x.json(http.StatusOK, struct {
		Registry  string          `json:"registry"`
		ImageName string          `json:"imageName"`
		Manifests []manifestEntry `json:"manifests"`
	}{x.registry(), x.name, entries})
}
