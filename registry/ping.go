package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
)

// Ping asks the endpoint whether it is a registry and whether it accepts the
// credentials, repeating an exchange once after a fault. Its error is one line that
// says what would be right. The other methods ask by themselves when Ping was
// not called.
func (c *Client) Ping(ctx context.Context) error {
	op := "ask " + c.Host()
	d, err := c.dialect(ctx, op, true)
	if err != nil {
		return flat(op, err)
	}
	var a answer
	for _, scope := range d.loginScopes() {
		k := c.call(op, http.MethodGet, "/v2/", scope)
		k.hasty = true
		if a, err = c.fetch(ctx, k); !errors.Is(err, ErrDenied) {
			break
		}
	}
	if err != nil {
		return flat(op, err)
	}
	if a.ok() || c.placeholder(ctx, a) {
		return nil
	}
	refused := statusError(op, a.status, a.header, a.body)
	if refused.Kind == ErrDenied {
		refused.Message = strings.TrimSuffix("credentials refused: "+refused.Message, ": ")
	}
	return refused
}

// placeholder: some public registries challenge /v2/ with the scope of a
// repository that nobody has. An anonymous client is then no worse off.
func (c *Client) placeholder(ctx context.Context, a answer) bool {
	if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		return false
	}
	wanted, ok := chooseLogin(parseChallenges(a.header.Values("WWW-Authenticate")))
	if !ok || !strings.HasPrefix(wanted.scope, "repository:") {
		return false
	}
	credential, err := c.logins.credential(ctx)
	return err == nil && credential.anonymous()
}

// schemeHint adds what would be right to errors that a wrong endpoint causes.
func schemeHint(c *Client, err error) error {
	var ours *Error
	var dns *net.DNSError
	switch {
	case !errors.As(err, &ours):
	case errors.Is(err, http.ErrSchemeMismatch):
		return &Error{Op: ours.Op, Message: "it speaks plain http; write http://" + c.Host(), Kind: ErrUnavailable, Silent: true}
	case errors.As(err, &dns) && dns.IsNotFound:
		hint := "there is no host " + c.endpoint.Hostname() + "; check the name"
		if !strings.Contains(c.endpoint.Host, ".") {
			hint += ", or write " + c.endpoint.Hostname() + ".azurecr.io" // Azure's tools take the name alone
		}
		return &Error{Op: ours.Op, Message: hint, Kind: ErrUnavailable, Silent: true}
	}
	return err
}

// flat removes an operation that repeats itself: ask HOST: ask HOST: ….
func flat(op string, err error) error {
	var outer, inner *Error
	if errors.As(err, &outer) && outer.Op == op && errors.As(outer.Err, &inner) && inner.Op == op {
		return inner
	}
	return err
}
