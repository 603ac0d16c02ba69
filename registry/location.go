package registry

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"
)

const (
	// maxLocations bounds the memory for addresses: some 1 KiB each.
	maxLocations = 4096
	// defaultLife is assumed of an address that does not tell its expiry.
	defaultLife = 5 * time.Minute
	// maxLife distrusts addresses that promise more. Azure's live 20 minutes.
	maxLife = 15 * time.Minute
)

type blobKey struct {
	repo   string
	digest digest.Digest
}

// location is where the bytes of a blob are: at a signed URL of a storage
// service, or with a nil url at the registry itself.
type location struct {
	url     *url.URL
	expires time.Time
}

// locations remembers where blobs are, so that the ranges of one blob cost one
// question to the registry.
type locations struct {
	known   *lru.Cache[blobKey, location]
	flights singleflight.Group
	// direct: the last blob came from the registry itself. Then the question
	// is not worth an exchange of its own.
	direct atomic.Bool
}

func (l *locations) get(key blobKey) (location, bool) {
	loc, ok := l.known.Get(key)
	if ok && time.Now().After(loc.expires) {
		return location{}, false
	}
	return loc, ok
}

func (l *locations) forget(key blobKey) { l.known.Remove(key) }

// remember keeps where resp, the registry's answer to a GET of the blob, says
// that it is. A nil target is the registry.
func (l *locations) remember(key blobKey, target *url.URL, resp *http.Response) location {
	loc := location{url: target, expires: time.Now().Add(defaultLife)}
	if target != nil {
		loc.expires = signedUntil(target, serverTime(resp.Header, time.Now()), time.Now())
	}
	l.direct.Store(target == nil)
	l.known.Add(key, loc)
	return loc
}

// locate returns where a blob is. Callers that ask for the same blob at the
// same time share one exchange.
func (c *Client) locate(ctx context.Context, op string, key blobKey) (location, error) {
	if loc, ok := c.locations.get(key); ok {
		return loc, nil
	}
	flight := c.locations.flights.DoChan(key.repo+"@"+key.digest.String(), func() (any, error) {
		defer c.shared.begin()()
		if loc, ok := c.locations.get(key); ok {
			return loc, nil
		}
		inner, cancel := context.WithTimeoutCause(c.shared.ctx, c.metadataTimeout, errDeadline)
		defer cancel()
		return c.askLocation(inner, op, key)
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return location{}, renamed(op, r.Err) // it may have been another's operation
		}
		return r.Val.(location), nil
	case <-ctx.Done():
		return location{}, &Error{Op: op, Err: ctx.Err()}
	}
}

// askLocation asks the registry for one byte and does not follow where it
// points.
func (c *Client) askLocation(ctx context.Context, op string, key blobKey) (location, error) {
	k := c.blobCall(op, http.MethodGet, key).with("Range", formatRange(0, 1))
	resp, _, err := c.send(ctx, c.blobs, k)
	if err != nil {
		return location{}, c.failure(context.Background(), ctx, op, err)
	}
	defer release(resp)
	switch {
	case isRedirect(resp):
		target, problem := redirectTarget(c.endpoint, k.url, resp)
		if problem != "" {
			return location{}, &Error{Op: op, Status: resp.StatusCode, Message: problem, Kind: ErrUnavailable}
		}
		c.count.redirects.Add(1)
		return c.locations.remember(key, target, resp), nil
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent,
		resp.StatusCode == http.StatusRequestedRangeNotSatisfiable: // an empty blob
		return c.locations.remember(key, nil, resp), nil
	}
	return location{}, streamError(op, resp)
}

// release gives the connection back when little is left to read. What begins as
// the whole blob may be slow to come, and is cut off instead.
func release(resp *http.Response) {
	if resp.StatusCode != http.StatusOK && resp.ContentLength >= 0 && resp.ContentLength <= maxErrorBody {
		discard(resp)
		return
	}
	resp.Body.Close()
}

// signedUntil reads how long a signed URL can be used: Azure's se, AWS's and
// Google's date and life, or CloudFront's Expires. Expiry is judged by the
// clock of the server that signed it, and a tenth of the life is left unused.
func signedUntil(u *url.URL, server, local time.Time) time.Time {
	life := defaultLife
	q := u.Query()
	if t, err := time.Parse(time.RFC3339, q.Get("se")); err == nil {
		life = t.Sub(server)
	} else if seconds, err := strconv.ParseInt(q.Get("Expires"), 10, 64); err == nil {
		life = time.Unix(seconds, 0).Sub(server)
	} else {
		for _, vendor := range []string{"X-Amz-", "X-Goog-"} {
			seconds, err := strconv.ParseInt(q.Get(vendor+"Expires"), 10, 32)
			if err != nil {
				continue
			}
			signed, err := time.Parse("20060102T150405Z", q.Get(vendor+"Date"))
			if err != nil {
				signed = server
			}
			life = signed.Add(time.Duration(seconds) * time.Second).Sub(server)
		}
	}
	life = max(0, min(life, maxLife))
	return local.Add(life - min(life/10, time.Minute))
}
