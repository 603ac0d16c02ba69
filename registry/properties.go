package registry

import (
	"context"
)

// Properties tells what the registry keeps about a repository, tag or
// manifest. On plain OCI registries that is little: see the type. ErrNotFound
// when there is no such item.
func (c *Client) Properties(ctx context.Context, ref Ref) (Properties, error) {
	op := "get properties of " + clean(ref.String(), 512)
	if err := ref.check(op); err != nil {
		return Properties{}, err
	}
	d, err := c.dialect(ctx, op, false)
	if err != nil {
		return Properties{}, err
	}
	return d.properties(ctx, ref)
}

// Update changes the access flags that patch names, leaves the others as they
// are, and returns the properties afterwards. ErrUnsupported on registries
// without flags.
func (c *Client) Update(ctx context.Context, ref Ref, patch AccessPatch) (Properties, error) {
	op := "update properties of " + clean(ref.String(), 512)
	if err := ref.check(op); err != nil {
		return Properties{}, err
	}
	d, err := c.dialect(ctx, op, false)
	if err != nil {
		return Properties{}, err
	}
	return d.update(ctx, ref, patch)
}
