package registry

import (
	"context"
	"errors"
	"iter"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
)

// dialect is what differs between Azure's registry and the plain OCI protocol:
// lists, properties, and the deletion of what is not a manifest. Nothing else
// in this package asks which of the two it talks to.
type dialect interface {
	name() string
	loginScopes() []string // for a login that is only a test of the credentials, the first that is granted
	repositories(ctx context.Context) iter.Seq2[string, error]
	tags(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Tag, error]
	manifests(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Properties, error]
	properties(ctx context.Context, ref Ref) (Properties, error)
	update(ctx context.Context, ref Ref, patch AccessPatch) (Properties, error)
	deleteRepository(ctx context.Context, repo string) error
	deleteTag(ctx context.Context, ref Ref) error
}

// probe finds the dialect once: several callers share one attempt, and a
// failed attempt is followed by a new one at the next call.
type probe struct {
	found  atomic.Pointer[dialect]
	flight singleflight.Group
}

// dialect returns the registry's dialect, asking the registry at first use.
func (c *Client) dialect(ctx context.Context, op string, hasty bool) (dialect, error) {
	if d := c.probe.found.Load(); d != nil {
		return *d, nil
	}
	flight := c.probe.flight.DoChan("", func() (any, error) {
		defer c.shared.begin()()
		if d := c.probe.found.Load(); d != nil {
			return *d, nil
		}
		d, err := c.findDialect(c.shared.ctx, hasty)
		if err != nil {
			return nil, err
		}
		c.probe.found.Store(&d)
		c.log.Debug("registry found", "host", c.Host(), "dialect", d.name())
		return d, nil
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return nil, c.failure(ctx, ctx, op, r.Err)
		}
		return r.Val.(dialect), nil
	case <-ctx.Done():
		return nil, &Error{Op: op, Err: ctx.Err()}
	}
}

// findDialect asks for Azure's catalog without credentials. Azure challenges
// for the catalog's scope, or lists when it needs none. Plain registries have
// no such path: 404, 405, a web page, or a challenge for everything, which is
// answered before the question is asked again. They must then have /v2/.
func (c *Client) findDialect(ctx context.Context, hasty bool) (dialect, error) {
	op := "ask " + c.Host()
	k := c.call(op, http.MethodGet, "/acr/v1/_catalog?n=1", catalogScope)
	k.auth, k.hasty = false, hasty
	a, err := c.fetch(ctx, k)
	if err != nil {
		return nil, schemeHint(c, err)
	}
	if a.status == http.StatusUnauthorized && sameOrigin(a.url, c.endpoint) {
		wanted, known := chooseLogin(parseChallenges(a.header.Values("WWW-Authenticate")))
		if known && isAzureLogin(wanted) {
			c.logins.learn(wanted)
			return &acr{c}, nil
		}
		if known {
			k.auth = true
			switch again, err := c.fetch(ctx, k); {
			case err == nil:
				a = again
			case !errors.Is(err, ErrDenied):
				return nil, err
			}
		}
	}
	if _, isCatalog := fieldsOf(a.body)["repositories"]; isCatalog && a.ok() {
		return &acr{c}, nil
	}
	// Where the question was not answered, a wrong guess would stay.
	if a.status == http.StatusTooManyRequests {
		return nil, statusError(op, a.status, a.header, a.body)
	}
	if err := c.isRegistry(ctx, hasty); err != nil {
		return nil, err
	}
	if repeatable(a.status) {
		return nil, statusError(op, a.status, a.header, a.body)
	}
	return &oci{c}, nil
}

// isRegistry checks that /v2/ is what the protocol says: 200 or a challenge,
// and not a web page.
func (c *Client) isRegistry(ctx context.Context, hasty bool) error {
	op := "ask " + c.Host()
	k := c.call(op, http.MethodGet, "/v2/", "")
	k.auth, k.hasty = false, hasty
	a, err := c.fetch(ctx, k)
	if err != nil {
		return schemeHint(c, err)
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	marked := a.header.Get("Docker-Distribution-Api-Version") != ""
	switch {
	case !sameOrigin(a.url, c.endpoint):
		return &Error{Op: op, Message: "it redirects to " + clean(a.url.Host, 255) + "; write " + a.url.Scheme + "://" + clean(a.url.Host, 255), Kind: ErrUnavailable}
	case a.ok() && (marked || kind != "text/html"):
		return nil
	case a.status == http.StatusUnauthorized:
		if wanted, ok := chooseLogin(parseChallenges(a.header.Values("WWW-Authenticate"))); ok {
			c.logins.learn(wanted)
			return nil
		}
		return statusError(op, a.status, a.header, a.body)
	case a.status == http.StatusBadRequest && strings.Contains(strings.ToLower(string(a.body)), "https"):
		return &Error{Op: op, Status: a.status, Message: "it speaks https; write https://" + c.Host(), Kind: ErrUnavailable}
	case a.status == http.StatusForbidden, a.status == http.StatusTooManyRequests, a.status >= 500:
		return statusError(op, a.status, a.header, a.body)
	}
	return &Error{Op: op, Status: a.status, Message: "it is not a container registry (its /v2/ does not answer as one)", Kind: ErrUnsupported}
}

// isAzureLogin knows Azure by its challenge for the catalog: it names the
// scope, or at least the token service's path.
func isAzureLogin(wanted login) bool {
	return wanted.realm != nil &&
		(wanted.scope == catalogScope || strings.HasSuffix(wanted.realm.Path, "/oauth2/token"))
}
