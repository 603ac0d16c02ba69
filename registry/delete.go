package registry

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Delete deletes a repository with all in it, a tag (never its manifest), or a
// manifest with its tags. ErrNotFound when the item does not exist, unless it
// was this call that deleted it and only the answer was lost. ErrUnsupported
// where the registry cannot: plain OCI registries keep their repositories, and
// some their tags.
func (c *Client) Delete(ctx context.Context, ref Ref) error {
	op := "delete " + clean(ref.String(), 512)
	if err := ref.check(op); err != nil {
		return err
	}
	if ref.Digest != "" {
		return c.delete(ctx, c.call("delete manifest "+ref.String(), http.MethodDelete, manifestPath(ref), scopeOf(ref.Repository, "delete")))
	}
	d, err := c.dialect(ctx, op, false)
	switch {
	case err != nil:
		return err
	case ref.Tag != "":
		return d.deleteTag(ctx, ref)
	}
	return d.deleteRepository(ctx, ref.Repository)
}

// DeleteBlob deletes a blob of a repository. Other repositories keep theirs.
func (c *Client) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	ref := Ref{Repository: repo, Digest: d}
	op := "delete blob " + clean(ref.String(), 512)
	if err := ref.checkManifest(op); err != nil {
		return err
	}
	c.locations.forget(blobKey{repo, d})
	return c.delete(ctx, c.call(op, http.MethodDelete, blobPath(repo, d), scopeOf(repo, "delete")))
}

// delete sends a deletion. A 404 to its repetition is the success of a try
// whose answer was lost.
func (c *Client) delete(ctx context.Context, k call) error {
	a, err := c.fetch(ctx, k)
	if err != nil || a.ok() || (a.status == http.StatusNotFound && a.trail.uncertain) {
		return err
	}
	return statusError(k.op, a.status, a.header, a.body)
}

// deleteTag of a plain OCI registry uses the path of manifests with a tag in
// it. The specification has it remove the tag alone; registries that cannot
// answer 400 or 405, as older ones did. The digest is never sent in the tag's
// place: that would take the manifest and every other tag on it.
//
// Some registries took the specification otherwise and delete the manifest.
// So it is looked at again afterwards, and put back when it went: unless the
// deletion was clearly refused, and also when the caller has left.
func (o *oci) deleteTag(ctx context.Context, ref Ref) error {
	op := "delete tag " + ref.String()
	if o.c.tagTakesManifest.Load() {
		return &Error{Op: op, Message: "the registry would delete the manifest too", Kind: ErrUnsupported}
	}
	body, d, err := o.c.manifest(ctx, op, ref)
	if err != nil {
		return err
	}
	err = o.c.delete(ctx, o.c.call(op, http.MethodDelete, manifestPath(ref), scopeOf(ref.Repository, "delete")))
	var ours *Error
	if errors.As(err, &ours) && ours.Status/100 == 4 {
		if ours.Status == http.StatusBadRequest || ours.Status == http.StatusMethodNotAllowed {
			ours.Kind = ErrUnsupported
		}
		return err
	}
	// Who leaves now leaves us lastLook.
	look, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastLook, cancel) })()
	return cmp.Or(o.keepManifest(look, op, Ref{Repository: ref.Repository, Digest: d.Digest}, body, d.MediaType, err == nil), err)
}

// lastLook is how long the look at a manifest goes on when the caller has left.
const lastLook = 10 * time.Second

// keepManifest puts a manifest back that went with its tag, and makes that tag
// the last one this client deletes. After a deletion that was answered it is put,
// too, where it cannot be seen whether it is still there: that changes nothing if
// it is.
func (o *oci) keepManifest(ctx context.Context, op string, ref Ref, body []byte, mediaType string, answered bool) error {
	_, lookErr := o.c.Resolve(ctx, ref)
	gone := errors.Is(lookErr, ErrNotFound)
	if lookErr == nil || !gone && !answered {
		return nil
	}
	if gone {
		o.c.tagTakesManifest.Store(true)
	}
	k := o.c.call(op, http.MethodPut, manifestPath(ref), scopeOf(ref.Repository, "pull,push")).with("Content-Type", mediaType)
	k.body = body
	_, err := o.c.want(ctx, k)
	switch {
	case err != nil && gone:
		return &Error{Op: op, Message: "the registry deleted the manifest " + ref.Digest.String() + " with its tag, and it could not be put back", Kind: ErrUnsupported, Err: err}
	case err != nil:
		return &Error{Op: op, Message: "whether the manifest " + ref.Digest.String() + " is still there could not be seen", Kind: ErrUnavailable, Err: lookErr}
	case gone:
		o.c.log.Warn("manifest went with its tag and was put back, without other tags that it may have had; no further tag will be deleted", "manifest", ref.String())
	}
	return nil
}
