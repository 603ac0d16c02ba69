package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// blobBody is one answer with bytes of a blob, from the offset asked for.
type blobBody struct {
	io.ReadCloser
	skip   int64 // bytes before that offset, still to be read past
	length int64 // how many bytes it promises; -1 unknown
	total  int64 // the blob's size; -1 unknown
	ends   bool  // io.EOF is the blob's end, by the framing of the answer
}

func (b *blobBody) Read(p []byte) (int, error) {
	if b.skip > 0 {
		n, err := io.CopyN(io.Discard, b.ReadCloser, b.skip)
		if b.skip -= n; err != nil {
			return 0, err
		}
	}
	return b.ReadCloser.Read(p)
}

// openAt opens a blob at first, for length bytes or all of the rest when
// length is negative. An address that the storage refuses is asked for once
// more: it may have expired early.
func (c *Client) openAt(ctx context.Context, op string, key blobKey, first, length int64) (blobBody, error) {
	for again := true; ; again = false {
		loc, ok := c.locations.get(key)
		if !ok && !c.locations.direct.Load() {
			var err error
			if loc, err = c.locate(ctx, op, key); err != nil {
				return blobBody{}, err
			}
		}
		resp, err := c.follow(ctx, op, key, loc, first, length)
		if err != nil {
			return blobBody{}, err
		}
		if !isContent(resp) {
			err := streamError(op, resp)
			release(resp)
			if loc.url != nil && refusedByStorage(err) {
				c.locations.forget(key)
				if again {
					continue
				}
				err.Message = "the storage service refused the address that the registry gave"
			}
			return blobBody{}, err
		}
		body, err := checkRange(op, resp, first, length)
		if err != nil {
			resp.Body.Close()
			return blobBody{}, err
		}
		return body, nil
	}
}

// follow sends the request to where the blob is and after further redirects.
// Only the registry's own origin ever sees a token.
func (c *Client) follow(ctx context.Context, op string, key blobKey, loc location, first, length int64) (*http.Response, error) {
	k := c.blobCall(op, http.MethodGet, key)
	if first > 0 || length >= 0 {
		k = k.with("Range", formatRange(first, length))
	}
	atRegistry := loc.url == nil
	if !atRegistry {
		k = k.toward(loc.url, c.endpoint)
	}
	for hops := 0; ; hops++ {
		resp, _, err := c.send(ctx, c.blobs, k)
		if err != nil {
			return nil, c.failure(ctx, ctx, op, err)
		}
		if !isRedirect(resp) {
			if atRegistry && isContent(resp) {
				c.locations.remember(key, nil, resp)
			}
			return resp, nil
		}
		target, problem := redirectTarget(c.endpoint, k.url, resp)
		if problem == "" && hops == maxHops {
			problem = "too many redirects"
		}
		if problem == "" && atRegistry {
			c.count.redirects.Add(1)
			c.locations.remember(key, target, resp)
		}
		release(resp)
		if problem != "" {
			return nil, &Error{Op: op, Status: resp.StatusCode, Message: problem, Kind: ErrUnavailable}
		}
		atRegistry = false
		k = k.toward(target, c.endpoint)
	}
}

func isContent(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent ||
		resp.StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// streamError is statusError for an answer whose body was not buffered.
func streamError(op string, resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return statusError(op, resp.StatusCode, resp.Header, body)
}

// refusedByStorage: an expired or garbled signature is a 403 at Azure and AWS,
// and with others one of these with the storage's own code in XML.
func refusedByStorage(err *Error) bool {
	switch err.Status {
	case http.StatusForbidden, http.StatusGone:
		return true
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound:
		return err.Code != ""
	}
	return false
}

// checkRange tells apart the three ways to answer a range: the range (206), the
// whole blob by a server that knows no ranges (200), and "beyond its end"
// (416).
func checkRange(op string, resp *http.Response, first, length int64) (blobBody, error) {
	shorter := func(total int64) error {
		return &Error{Op: op, Message: fmt.Sprintf("the blob has only %d bytes; asked for %s", total, wanted(first, length)), Kind: ErrCorrupt}
	}
	r, known := parseContentRange(resp.Header.Get("Content-Range"))
	switch resp.StatusCode {
	case http.StatusPartialContent:
		switch {
		case !known || r.first < 0:
			return blobBody{}, broken(op, "a part of the blob without a Content-Range that can be read")
		case r.first != first || (length >= 0 && r.last >= first+length):
			return blobBody{}, broken(op, fmt.Sprintf("bytes %d-%d came; asked for %s", r.first, r.last, wanted(first, length)))
		case length >= 0 && r.total >= 0 && r.total < first+length:
			return blobBody{}, shorter(r.total)
		case resp.ContentLength >= 0 && resp.ContentLength != r.last-r.first+1:
			return blobBody{}, broken(op, "Content-Range and Content-Length disagree")
		}
		return blobBody{ReadCloser: resp.Body, length: r.last - r.first + 1, total: r.total}, nil
	case http.StatusRequestedRangeNotSatisfiable:
		switch {
		case !known || r.total > first:
			return blobBody{}, broken(op, "the registry says that "+wanted(first, length)+" is beyond the blob's end")
		case r.total < first || length >= 0:
			return blobBody{}, shorter(r.total)
		}
		resp.Body.Close()
		return blobBody{ReadCloser: http.NoBody, length: 0, total: first}, nil
	}
	total := resp.ContentLength
	if total >= 0 && total < first+max(0, length) {
		return blobBody{}, shorter(total)
	}
	// A server without ranges: what lies before has to be read past.
	body := blobBody{ReadCloser: resp.Body, skip: first, length: -1, total: total}
	if total >= 0 {
		body.length = total - first
	}
	// A body that lasts as long as its connection (HTTP/1.0) may have been cut.
	body.ends = total < 0 && (len(resp.TransferEncoding) > 0 || resp.ProtoMajor > 1)
	return body, nil
}

func wanted(first, length int64) string {
	if length < 0 {
		return fmt.Sprintf("all from byte %d", first)
	}
	return fmt.Sprintf("bytes %d-%d", first, first+length-1)
}
