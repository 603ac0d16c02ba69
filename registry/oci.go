package registry

import (
	"context"
	"errors"
	"iter"

	"github.com/go-json-experiment/json/v1"
)

// oci is the plain protocol: /v2 alone. It keeps no times and no flags.
type oci struct{ c *Client }

var _ dialect = (*oci)(nil)

func (o *oci) name() string { return "oci" }

// loginScopes begins with the token that the first look at the tree needs. Some
// services refuse it instead of giving a narrower one; whoever has a login is not
// refused what docker login asks for, which is no scope at all.
func (o *oci) loginScopes() []string { return []string{catalogScope, ""} }

func (o *oci) repositories(ctx context.Context) iter.Seq2[string, error] {
	op := "list repositories"
	return func(yield func(string, error) bool) {
		began := false
		for name, err := range pages(ctx, o.c, o.c.listCall(op, "/v2/_catalog", catalogScope, nil), decodeRepositories) {
			if !began && errors.Is(err, ErrNotFound) {
				err = &Error{Op: op, Message: "the registry has no catalog", Kind: ErrUnsupported}
			}
			if !yield(name, err) {
				return
			}
			began = true
		}
	}
}

// tags lists names alone. Some registries answer 404 for a repository that has
// manifests but no tag (any more); then the catalog knows whether it exists.
func (o *oci) tags(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Tag, error] {
	k := o.c.listCall("list tags of "+repo, "/v2/"+repo+"/tags/list", pullScope(repo), nil)
	return func(yield func(Tag, error) bool) {
		began := false
		for tag, err := range pages(ctx, o.c, k, decodeOCITags) {
			// After a first page a 404 is a failure like any other.
			if !began && errors.Is(err, ErrNotFound) && o.inCatalog(ctx, repo) {
				return
			}
			began = true
			if err == nil && opt.Digest != "" {
				var pointsHere bool
				if pointsHere, err = o.pointsTo(ctx, repo, tag.Name, opt); err == nil && !pointsHere {
					continue
				}
				tag.Properties.Digest = opt.Digest
			}
			if !yield(tag, err) || err != nil {
				return
			}
		}
	}
}

func (o *oci) pointsTo(ctx context.Context, repo, tag string, opt ListOptions) (bool, error) {
	d, err := o.c.Resolve(ctx, Ref{Repository: repo, Tag: tag})
	if errors.Is(err, ErrNotFound) {
		return false, nil // deleted since it was listed
	}
	return d.Digest == opt.Digest, err
}

// inCatalog asks for the first name from repo on. A catalog in another order,
// or none at all, gives no evidence, which is a no.
func (o *oci) inCatalog(ctx context.Context, repo string) bool {
	// The greatest string below repo that the cursor, which is exclusive, can
	// be: no name of the grammar sorts between it and repo.
	before := repo[:len(repo)-1] + string(repo[len(repo)-1]-1) + "~"
	k := o.c.listCall("list repositories", "/v2/_catalog", catalogScope, map[string]string{"last": before})
	q := k.url.Query()
	q.Set("n", "1")
	k.url.RawQuery = q.Encode()
	a, err := o.c.want(ctx, k)
	if err != nil {
		return false
	}
	names, _, err := decodeRepositories(a.body)
	return err == nil && len(names) > 0 && names[0] == repo
}

func decodeOCITags(body []byte) ([]Tag, skipped, error) {
	var list struct {
		Tags []string `json:"tags"`
	}
	var skip skipped
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, skip, err
	}
	if list.Tags == nil && !holdsList(body, "tags") {
		return nil, skip, errNoList
	}
	tags := make([]Tag, 0, len(list.Tags))
	for _, name := range list.Tags {
		if !ValidTag(name) {
			skip.note(name)
			continue
		}
		tags = append(tags, Tag{Name: name})
	}
	return tags, skip, nil
}

// properties tells what can be known: that the item exists, and what a tag or
// digest points to.
func (o *oci) properties(ctx context.Context, ref Ref) (Properties, error) {
	op := "get properties of " + ref.String()
	if ref.reference() == "" {
		for _, err := range o.tags(ctx, ref.Repository, ListOptions{}) {
			return Properties{}, renamed(op, err)
		}
		return Properties{}, nil
	}
	d, err := o.c.Resolve(ctx, ref)
	return Properties{Digest: d.Digest, MediaType: d.MediaType}, renamed(op, err)
}

func (o *oci) update(ctx context.Context, ref Ref, patch AccessPatch) (Properties, error) {
	return Properties{}, &Error{Op: "update properties of " + ref.String(), Message: "the registry keeps no access flags", Kind: ErrUnsupported}
}

func (o *oci) deleteRepository(ctx context.Context, repo string) error {
	return &Error{Op: "delete repository " + repo, Message: "the registry can only delete tags and manifests", Kind: ErrUnsupported}
}

// renamed gives an error of one operation the name of the one it served.
func renamed(op string, err error) error {
	var ours *Error
	if !errors.As(err, &ours) {
		return err
	}
	copied := *ours
	copied.Op = op
	return &copied
}
