package registry

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/go-digest"
)

// The scopes that a token must allow, by operation (doc.go has the table).
const catalogScope = "registry:catalog:*"

func scopeOf(repo, action string) string { return "repository:" + repo + ":" + action }

func pullScope(repo string) string { return scopeOf(repo, "pull") }

// acr is Azure's dialect: /acr/v1 beside /v2.
type acr struct{ c *Client }

var _ dialect = (*acr)(nil)

func (a *acr) name() string { return "acr" }

// loginScopes is one that every identity may ask for; if it is not covered, the
// token is narrower, which is proof enough for /v2/.
func (a *acr) loginScopes() []string { return []string{catalogScope} }

// path is where a repository, tag or manifest has its properties.
func (a *acr) path(ref Ref) string {
	switch {
	case ref.Digest != "":
		return "/acr/v1/" + ref.Repository + "/_manifests/" + ref.Digest.String()
	case ref.Tag != "":
		return "/acr/v1/" + ref.Repository + "/_tags/" + ref.Tag
	}
	return "/acr/v1/" + ref.Repository
}

func (a *acr) repositories(ctx context.Context) iter.Seq2[string, error] {
	return pages(ctx, a.c, a.c.listCall("list repositories", "/acr/v1/_catalog", catalogScope, nil), decodeRepositories)
}

func (a *acr) tags(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Tag, error] {
	k := a.c.listCall("list tags of "+repo, a.path(Ref{Repository: repo})+"/_tags", scopeOf(repo, "metadata_read"),
		map[string]string{"orderby": string(opt.Order), "digest": opt.Digest.String()})
	return pages(ctx, a.c, k, decodeACRTags)
}

func (a *acr) manifests(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Properties, error] {
	k := a.c.listCall("list manifests of "+repo, a.path(Ref{Repository: repo})+"/_manifests", scopeOf(repo, "metadata_read"),
		map[string]string{"orderby": string(opt.Order)})
	return pages(ctx, a.c, k, decodeACRManifests)
}

func (a *acr) properties(ctx context.Context, ref Ref) (Properties, error) {
	op := "get properties of " + ref.String()
	k := a.c.call(op, http.MethodGet, a.path(ref), scopeOf(ref.Repository, "metadata_read"))
	return a.readProperties(ctx, k, ref)
}

func (a *acr) update(ctx context.Context, ref Ref, patch AccessPatch) (Properties, error) {
	op := "update properties of " + ref.String()
	k := a.c.call(op, http.MethodPatch, a.path(ref), scopeOf(ref.Repository, "metadata_write"))
	body, err := json.Marshal(acrPatch{patch.CanDelete, patch.CanWrite, patch.CanRead, patch.CanList})
	if err != nil {
		return Properties{}, broken(op, err.Error())
	}
	k.body = body
	return a.readProperties(ctx, k.with("Content-Type", "application/json"), ref)
}

func (a *acr) readProperties(ctx context.Context, k call, ref Ref) (Properties, error) {
	answer, err := a.c.want(ctx, k)
	if err != nil {
		return Properties{}, err
	}
	p, err := decodeACRProperties(answer.body, ref)
	if err != nil {
		return Properties{}, &Error{Op: k.op, Message: "the answer cannot be read", Kind: ErrUnavailable, Err: err}
	}
	return p, nil
}

func (a *acr) deleteRepository(ctx context.Context, repo string) error {
	return a.c.delete(ctx, a.c.call("delete repository "+repo, http.MethodDelete, a.path(Ref{Repository: repo}), scopeOf(repo, "delete")))
}

func (a *acr) deleteTag(ctx context.Context, ref Ref) error {
	return a.c.delete(ctx, a.c.call("delete tag "+ref.String(), http.MethodDelete, a.path(ref), scopeOf(ref.Repository, "delete")))
}

// Causes of an answer about one item that cannot be used.
var (
	errNoItem    = errors.New("it holds no such item")
	errOtherItem = errors.New("it is about another item")
)

// Bodies of /acr/v1. A flag that is absent is neither true nor false.
type (
	acrPatch struct {
		DeleteEnabled *bool `json:"deleteEnabled,omitempty"`
		WriteEnabled  *bool `json:"writeEnabled,omitempty"`
		ReadEnabled   *bool `json:"readEnabled,omitempty"`
		ListEnabled   *bool `json:"listEnabled,omitempty"`
	}
	acrFlags struct {
		DeleteEnabled acrFlag `json:"deleteEnabled"`
		WriteEnabled  acrFlag `json:"writeEnabled"`
		ReadEnabled   acrFlag `json:"readEnabled"`
		ListEnabled   acrFlag `json:"listEnabled"`
	}
	acrItem struct {
		Name            string    `json:"name"`
		Digest          string    `json:"digest"`
		Created         timestamp `json:"createdTime"`
		Updated         timestamp `json:"lastUpdateTime"`
		Flags           acrFlags  `json:"changeableAttributes"`
		MediaType       string    `json:"mediaType"`
		ConfigMediaType string    `json:"configMediaType"`
		Architecture    string    `json:"architecture"`
		OS              string    `json:"os"`
		Size            int64     `json:"imageSize"`
		Tags            []string  `json:"tags"`
		ManifestCount   int       `json:"manifestCount"`
		TagCount        int       `json:"tagCount"`
	}
)

func (i *acrItem) properties() Properties {
	return Properties{
		Created:         i.Created.Time,
		Updated:         i.Updated.Time,
		Access:          i.Flags.access(),
		ManifestCount:   i.ManifestCount,
		TagCount:        i.TagCount,
		Digest:          digest.Digest(i.Digest),
		MediaType:       i.MediaType,
		ConfigMediaType: i.ConfigMediaType,
		Architecture:    i.Architecture,
		OS:              i.OS,
		Size:            max(0, i.Size),
		Tags:            validTags(i.Tags),
	}
}

func decodeACRTags(body []byte) ([]Tag, skipped, error) {
	var list struct {
		Tags []acrItem `json:"tags"`
	}
	var skip skipped
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, skip, err
	}
	if list.Tags == nil && !holdsList(body, "tags") {
		return nil, skip, errNoList
	}
	tags := make([]Tag, 0, len(list.Tags))
	for i := range list.Tags {
		item := &list.Tags[i]
		if !ValidTag(item.Name) || !ValidDigest(digest.Digest(item.Digest)) {
			skip.note(item.Name)
			continue
		}
		tags = append(tags, Tag{Name: item.Name, Properties: item.properties()})
	}
	return tags, skip, nil
}

func decodeACRManifests(body []byte) ([]Properties, skipped, error) {
	var list struct {
		Manifests []acrItem `json:"manifests"`
	}
	var skip skipped
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, skip, err
	}
	if list.Manifests == nil && !holdsList(body, "manifests") {
		return nil, skip, errNoList
	}
	manifests := make([]Properties, 0, len(list.Manifests))
	for i := range list.Manifests {
		item := &list.Manifests[i]
		if !ValidDigest(digest.Digest(item.Digest)) {
			skip.note(item.Digest)
			continue
		}
		manifests = append(manifests, item.properties())
	}
	return manifests, skip, nil
}

// decodeACRProperties reads the answer about one item: a repository stands for
// itself, tags and manifests are wrapped.
func decodeACRProperties(body []byte, ref Ref) (Properties, error) {
	var wrapped struct {
		acrItem
		Tag      *acrItem `json:"tag"`
		Manifest *acrItem `json:"manifest"`
	}
	if err := json.Unmarshal(body, &wrapped); err != nil {
		return Properties{}, err
	}
	item := &wrapped.acrItem
	switch {
	case ref.Digest != "":
		item = wrapped.Manifest
	case ref.Tag != "":
		item = wrapped.Tag
	}
	switch {
	case item == nil:
		return Properties{}, errNoItem
	case ref.Digest != "" && item.Digest != ref.Digest.String(), ref.Tag != "" && item.Name != ref.Tag && ref.Digest == "":
		return Properties{}, errOtherItem
	case item.Digest != "" && !ValidDigest(digest.Digest(item.Digest)):
		return Properties{}, errOtherItem
	}
	return item.properties(), nil
}

func validTags(tags []string) []string {
	kept := tags[:0]
	for _, tag := range tags {
		if ValidTag(tag) {
			kept = append(kept, tag)
		}
	}
	return kept
}

// acrFlag is a bool that may be absent, without an allocation for each: a page
// has four thousand.
type acrFlag uint8

const (
	flagAbsent acrFlag = iota
	flagFalse
	flagTrue
)

func (f *acrFlag) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "true":
		*f = flagTrue
	case "false":
		*f = flagFalse
	}
	return nil
}

// access is unknown when no flag was told. One that is missing among others is
// as a new item has it.
func (f acrFlags) access() Access {
	if f == (acrFlags{}) {
		return Access{}
	}
	return Access{
		Known:     true,
		CanDelete: f.DeleteEnabled != flagFalse,
		CanWrite:  f.WriteEnabled != flagFalse,
		CanRead:   f.ReadEnabled != flagFalse,
		CanList:   f.ListEnabled != flagFalse,
	}
}

// timestamp reads RFC 3339 with any number of fractional digits, and without a
// zone, which means UTC. Anything else is the zero time: a wrong clock is no
// reason to refuse a listing.
type timestamp struct{ time.Time }

func (t *timestamp) UnmarshalJSON(text []byte) error {
	if len(text) < 2 || text[0] != '"' {
		return nil
	}
	text = text[1 : len(text)-1]
	if t.Time.UnmarshalText(text) == nil {
		t.Time = t.UTC()
		return nil
	}
	t.Time, _ = time.Parse("2006-01-02T15:04:05", string(text))
	return nil
}
