package localacr

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// properties of a repository on the wire; attributes without the quarantine.
type repositoryEntry struct {
	Registry   string     `json:"registry"`
	ImageName  string     `json:"imageName"`
	Created    time.Time  `json:"createdTime"`
	Updated    time.Time  `json:"lastUpdateTime"`
	Manifests  int        `json:"manifestCount"`
	Tags       int        `json:"tagCount"`
	Attributes attributes `json:"changeableAttributes"`
}

func (x *exchange) getRepository() error {
	var r repositoryRecord
	err := x.store.view(func(v view) error {
		var ok bool
		var err error
		if r, ok, err = v.repository(x.name); err != nil || !ok {
			return firstError(err, errRepositoryNotFound(x.name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.replyRepository(r)
}

func (x *exchange) replyRepository(r repositoryRecord) error {
	return x.json(http.StatusOK, repositoryEntry{x.registry(), x.name, r.Created, r.Updated, r.Manifests, r.Tags, r.Attributes})
}

func (x *exchange) getTag() error {
	var t tagRecord
	err := x.store.view(func(v view) error {
		var ok bool
		var err error
		if t, ok, err = v.tag(x.name, x.ref); err != nil || !ok {
			return firstError(err, errTagUnknown())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.replyTag(t)
}

func (x *exchange) replyTag(t tagRecord) error {
	return x.json(http.StatusOK, struct {
		Registry  string   `json:"registry"`
		ImageName string   `json:"imageName"`
		Tag       tagEntry `json:"tag"`
	}{x.registry(), x.name, t.entry(x.ref)})
}

func (x *exchange) getProperties() error {
	var m manifestRecord
	var tags []string
	err := x.store.view(func(v view) error {
		var ok bool
		var err error
		if m, ok, err = v.manifest(x.name, x.ref); err != nil || !ok {
			return firstError(err, errManifestUnknown())
		}
		tags = v.tagsOf(x.name, x.ref)
		return nil
	})
	if err != nil {
		return err
	}
	return x.replyProperties(m, tags)
}

func (x *exchange) replyProperties(m manifestRecord, tags []string) error {
	entry := m.entry(x.ref, tags)
	entry.References = m.References
	return x.json(http.StatusOK, struct {
		Registry  string        `json:"registry"`
		ImageName string        `json:"imageName"`
		Manifest  manifestEntry `json:"manifest"`
	}{x.registry(), x.name, entry})
}

// patch is what a client wants changed: the fields that are there.
type patch struct {
	DeleteEnabled     *bool   `json:"deleteEnabled"`
	WriteEnabled      *bool   `json:"writeEnabled"`
	ReadEnabled       *bool   `json:"readEnabled"`
	ListEnabled       *bool   `json:"listEnabled"`
	QuarantineDetails *string `json:"quarantineDetails"`
	QuarantineState   *string `json:"quarantineState"`
}

// patchLimit is far above any set of six fields.
const patchLimit = 64 << 10

// patch reads the request's body. Without one, nothing changes.
func (x *exchange) patch() (patch, error) {
	var p patch
	data, err := io.ReadAll(x.atMost(patchLimit))
	switch {
	case err != nil:
		return p, refuse(http.StatusBadRequest, "CONTENT_LEN_INVALID", "the length of the body and the Content-Length do not agree")
	case len(data) == 0:
		return p, nil
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, refuse(http.StatusBadRequest, "UNKNOWN", "the body is not a set of changeable attributes")
	}
	return p, nil
}

func (p patch) apply(a *attributes) {
	for _, f := range []struct {
		to   *bool
		from *bool
	}{{&a.DeleteEnabled, p.DeleteEnabled}, {&a.WriteEnabled, p.WriteEnabled}, {&a.ReadEnabled, p.ReadEnabled}, {&a.ListEnabled, p.ListEnabled}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
}

// applyQuarantine sets what only manifests have.
func (p patch) applyQuarantine(a *attributes) {
	if p.QuarantineDetails != nil {
		a.QuarantineDetails = *p.QuarantineDetails
	}
	if p.QuarantineState != nil {
		a.QuarantineState = *p.QuarantineState
	}
}

// Locks do not keep anyone from patching: they could not be undone.

func (x *exchange) patchRepository() error {
	p, err := x.patch()
	if err != nil {
		return err
	}
	var r repositoryRecord
	err = x.store.commit.do(x.r.Context(), func(e edit) error {
		var ok bool
		var err error
		if r, ok, err = e.repository(x.name); err != nil || !ok {
			return firstError(err, errRepositoryNotFound(x.name))
		}
		p.apply(&r.Attributes)
		return e.putRepository(x.name, r)
	})
	if err != nil {
		return err
	}
	return x.replyRepository(r)
}

func (x *exchange) patchTag() error {
	p, err := x.patch()
	if err != nil {
		return err
	}
	var t tagRecord
	err = x.store.commit.do(x.r.Context(), func(e edit) error {
		var ok bool
		var err error
		if t, ok, err = e.tag(x.name, x.ref); err != nil || !ok {
			return firstError(err, errTagUnknown())
		}
		p.apply(&t.Attributes)
		return e.setTag(x.name, x.ref, t)
	})
	if err != nil {
		return err
	}
	return x.replyTag(t)
}

func (x *exchange) patchProperties() error {
	p, err := x.patch()
	if err != nil {
		return err
	}
	var m manifestRecord
	var tags []string
	err = x.store.commit.do(x.r.Context(), func(e edit) error {
		var ok bool
		var err error
		if m, ok, err = e.manifest(x.name, x.ref); err != nil || !ok {
			return firstError(err, errManifestUnknown())
		}
		p.apply(&m.Attributes)
		p.applyQuarantine(&m.Attributes)
		tags = e.tagsOf(x.name, x.ref)
		return e.setManifest(x.name, x.ref, m)
	})
	if err != nil {
		return err
	}
	return x.replyProperties(m, tags)
}

// Soft delete is off: nothing was ever kept, and nothing comes back.

func (x *exchange) listDeleted() error {
	switch {
	case x.name == "":
		return x.json(http.StatusOK, map[string][]string{"repositories": {}})
	case x.ref == "_tags":
		return x.json(http.StatusOK, struct {
			Registry  string   `json:"registry"`
			ImageName string   `json:"imageName"`
			Tags      []string `json:"tags"`
		}{x.registry(), x.name, []string{}})
	}
	return x.json(http.StatusOK, struct {
		Registry  string   `json:"registry"`
		ImageName string   `json:"imageName"`
		Manifests []string `json:"manifests"`
	}{x.registry(), x.name, []string{}})
}

func (x *exchange) restoreDeleted() error { return errManifestUnknown() }
