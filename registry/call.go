package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// Limits of bodies that are read into memory.
const (
	maxPage      = 16 << 20 // 1,000 manifests with many tags are below 2 MiB
	maxManifest  = 4 << 20  // what registries accept and other clients read
	maxErrorBody = 64 << 10
	maxToken     = 256 << 10 // tokens with many groups reach tens of KiB
	// maxHeader of an answer. Addresses and realms from there are kept, and signed
	// addresses have 1 to 4 KiB.
	maxHeader = 32 << 10
)

// call is one request as an operation describes it.
type call struct {
	op     string // for errors: "list tags of team/app"
	method string
	url    *url.URL
	header http.Header
	body   []byte
	scope  string // what the token must allow; "" with auth set: any token
	auth   bool   // false: the request goes without Authorization
	limit  int64  // longest body to buffer; 0: the body is a stream for the caller
	hasty  bool   // one repetition at most after a fault: somebody waits at the prompt
}

// answer is a buffered response.
type answer struct {
	url    *url.URL // of the request that was answered, after redirects
	status int
	header http.Header
	body   []byte
	trail  trail
}

func (a answer) ok() bool { return a.status/100 == 2 }

// call makes a request to the registry itself. path is made of checked names,
// so that nothing in it needs escaping.
func (c *Client) call(op, method, path, scope string) call {
	u := *c.endpoint
	u.Path, u.RawQuery, _ = strings.Cut(path, "?")
	return call{op: op, method: method, url: &u, scope: scope, auth: true}
}

// with returns the call with one header more.
func (k call) with(name, value string) call {
	k.header = maps.Clone(k.header)
	if k.header == nil {
		k.header = http.Header{}
	}
	k.header.Set(name, value)
	return k
}

// toward sends the call to where a redirect leads. What proves who we are stays
// behind: tokens at the registry's origin, Basic at the token service's.
func (k call) toward(target, endpoint *url.URL) call {
	if !sameOrigin(target, k.url) && k.header.Get("Authorization") != "" {
		k.header = maps.Clone(k.header)
		k.header.Del("Authorization")
	}
	k.auth = k.auth && sameOrigin(target, endpoint)
	k.url = target
	return k
}

// fetch runs a metadata call to its last byte, within MetadataTimeout and
// following redirects. A change may wait out a throttle besides: whoever deletes
// a thousand manifests wants them deleted, while a reader wants an answer. Any
// status is an answer; the error is for none.
func (c *Client) fetch(ctx context.Context, k call) (answer, error) {
	if k.limit == 0 {
		k.limit = maxPage
	}
	limit := c.metadataTimeout
	switch k.method {
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
		limit += c.retry.throttleWait
	}
	inner, cancel := context.WithTimeoutCause(ctx, limit, errDeadline)
	defer cancel()
	for hops := 0; ; hops++ {
		resp, trail, err := c.send(inner, c.metadata, k)
		if err != nil {
			return answer{}, c.failure(ctx, inner, k.op, err)
		}
		body := resp.Body.(*buffered).all
		if isRedirect(resp) && (k.method == http.MethodGet || k.method == http.MethodHead) {
			target, problem := redirectTarget(c.endpoint, k.url, resp)
			if problem == "" && hops == maxHops {
				problem = "too many redirects"
			}
			if problem != "" {
				return answer{}, &Error{Op: k.op, Status: resp.StatusCode, Message: problem, Kind: ErrUnavailable}
			}
			k = k.toward(target, c.endpoint)
			continue
		}
		return answer{url: k.url, status: resp.StatusCode, header: resp.Header, body: body, trail: trail}, nil
	}
}

// want is fetch for callers to whom only success is an answer.
func (c *Client) want(ctx context.Context, k call) (answer, error) {
	a, err := c.fetch(ctx, k)
	if err == nil && !a.ok() {
		err = statusError(k.op, a.status, a.header, a.body)
	}
	return a, err
}

// send passes a call through a pipeline. Its error is raw: without the
// operation's name, but also without URLs.
func (c *Client) send(ctx context.Context, pipeline runtime.Pipeline, k call) (*http.Response, trail, error) {
	var t trail
	req, err := runtime.NewRequest(ctx, k.method, k.url.String())
	if err != nil {
		return nil, t, withoutURL(err)
	}
	raw := req.Raw()
	raw.URL = k.url // as it came: a signed URL must not be encoded anew
	for name, values := range k.header {
		raw.Header[name] = values
	}
	raw.Header.Set("User-Agent", c.userAgent)
	if k.body != nil {
		contentType := raw.Header.Get("Content-Type")
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(k.body)), contentType); err != nil {
			return nil, t, err
		}
	}
	if k.auth {
		req.SetOperationValue(authScope(k.scope))
	}
	if k.limit > 0 {
		req.SetOperationValue(bodyLimit(k.limit))
	}
	if k.hasty {
		req.SetOperationValue(hasty(true))
	}
	req.SetOperationValue(&t)
	runtime.SkipBodyDownload(req)
	resp, err := pipeline.Do(req)
	return resp, t, err
}

// bodyLimit marks requests whose answer bufferPolicy reads into memory.
type bodyLimit int64

// bufferPolicy reads a body inside the retry policy, so that one that breaks
// off is repeated like any other fault of the connection.
type bufferPolicy struct{}

func (bufferPolicy) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	var limit bodyLimit
	if err != nil || !req.OperationValue(&limit) {
		return resp, err
	}
	defer resp.Body.Close()
	if req.Raw().Method == http.MethodHead {
		limit = 0 // the length that it tells is of what GET would give
	}
	if resp.StatusCode >= 300 {
		// Of an error only the beginning is of interest.
		body, _ := readBody(resp, maxErrorBody)
		resp.Body = &buffered{*bytes.NewReader(body), body}
		return resp, nil
	}
	body, err := readBody(resp, int64(limit)+1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCutShort, err)
	}
	if int64(len(body)) > int64(limit) {
		return nil, errTooLong
	}
	resp.Body = &buffered{*bytes.NewReader(body), body}
	return resp, nil
}

// readBody reads up to limit bytes, at once where their number was announced.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 {
		b.Grow(int(min(n, limit)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(resp.Body, limit))
	return b.Bytes(), err
}

// buffered is a body in memory, as all are that bufferPolicy has read.
type buffered struct {
	bytes.Reader
	all []byte
}

func (*buffered) Close() error { return nil }
