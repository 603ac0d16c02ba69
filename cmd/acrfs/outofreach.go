package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/acrfs/acrfs/registry"
)

// azidentity tells a login that Microsoft Entra refused and one for which it
// could not be reached by the same error. To a mount they differ: in an outage it
// goes on with what it has. So the transport notes how the last request to an
// authority ended, for the one who asked for a token.

// lostKey is what a *atomic.Bool is kept by in a context: whether an authority
// was out of reach.
type lostKey struct{}

// noting is a transport that notes it. Authorities speak https; the endpoints of
// a machine's own identity, which most machines have not, do not.
type noting struct{ next http.RoundTripper }

func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	if lost, ok := r.Context().Value(lostKey{}).(*atomic.Bool); ok && r.URL.Scheme == "https" {
		lost.Store(err != nil || resp.StatusCode >= http.StatusInternalServerError)
	}
	return resp, err
}

// tellingReach is a credential whose error is registry.ErrUnavailable when an
// authority was out of reach. Its requests go through noting.
type tellingReach struct{ azcore.TokenCredential }

func (c tellingReach) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	var lost atomic.Bool
	token, err := c.TokenCredential.GetToken(context.WithValue(ctx, lostKey{}, &lost), options)
	if err != nil && lost.Load() {
		err = outOfReach{err}
	}
	return token, err
}

// outOfReach is an error that is registry.ErrUnavailable, too.
type outOfReach struct{ error }

func (o outOfReach) Unwrap() error { return o.error }

func (o outOfReach) Is(target error) bool { return target == registry.ErrUnavailable }
