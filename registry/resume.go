package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// creditBytes is how many bytes earn back one reopening. A server that gives a
// few bytes per connection thus comes to an end, and a long blob over a bad
// line does not: the exchanges of one reader are bounded by MaxRetries plus
// one for each of these.
const creditBytes = 256 << 10

// blobReader reads a part of a blob across as many bodies as it takes.
type blobReader struct {
	client *Client
	ctx    context.Context // of the body, as in net/http; ends with Close
	cancel context.CancelFunc
	op     string
	key    blobKey

	off    int64 // of the next byte
	left   int64 // how many are still to come; negative: until the end
	total  int64 // the blob's size as the first body told it; -1 unknown
	err    error // final; every later Read gives it
	budget int   // reopenings left
	idle   int   // reopenings since the last byte
	earned int64 // bytes since the last one earned back

	mu     sync.Mutex // guards what follows, as Close may come during a Read
	body   blobBody
	closed bool
}

// open opens the blob at off. Its error is final.
func (r *blobReader) open() error {
	body, err := r.client.openAt(r.ctx, r.op, r.key, r.off, r.left)
	if err != nil {
		return err
	}
	if r.total >= 0 && body.total >= 0 && body.total != r.total {
		body.Close()
		return &Error{Op: r.op, Message: fmt.Sprintf("the blob had %d bytes and now has %d", r.total, body.total), Kind: ErrCorrupt}
	}
	if body.total >= 0 {
		r.total = body.total
		if r.left < 0 {
			r.left = r.total - r.off
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		body.Close()
		return &Error{Op: r.op, Err: context.Canceled}
	}
	r.body = body
	return nil
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for r.left != 0 {
		n, err := r.body.Read(r.window(p))
		if n > 0 {
			r.progress(int64(n))
			return n, nil // an error that came along comes again
		}
		if err == nil {
			continue
		}
		if err == io.EOF && r.left < 0 && r.body.length < 0 && r.body.skip == 0 {
			break // the end is where the server says, as it told no size
		}
		if err == io.EOF && r.body.ends {
			r.err = &Error{Op: r.op, Message: fmt.Sprintf("the blob has only %d bytes; asked for %s", r.off-r.body.skip, wanted(r.off, r.left)), Kind: ErrCorrupt}
			return 0, r.err
		}
		if r.err = r.reopen(err); r.err != nil {
			return 0, r.err
		}
	}
	r.err = io.EOF
	return 0, io.EOF
}

// window keeps a server that sends more than was asked from being believed.
func (r *blobReader) window(p []byte) []byte {
	if r.left >= 0 && int64(len(p)) > r.left {
		return p[:r.left]
	}
	return p
}

func (r *blobReader) progress(n int64) {
	r.off += n
	if r.left > 0 {
		r.left -= n
	}
	r.idle = 0
	if r.earned += n; r.earned >= creditBytes {
		r.earned = 0
		r.budget = min(r.budget+1, r.client.maxRetries)
	}
}

// reopen goes on where a body ended too early, for the reason cause. The first
// time at once; without a byte since then, after a wait.
func (r *blobReader) reopen(cause error) error {
	r.body.Close()
	if r.ctx.Err() != nil {
		return &Error{Op: r.op, Err: r.ctx.Err()}
	}
	if r.budget <= 0 {
		return &Error{Op: r.op, Message: fmt.Sprintf("the blob broke off at byte %d", r.off), Kind: kindOfBreak(cause), Silent: true, Err: withoutURL(cause)}
	}
	r.budget--
	if r.idle > 0 {
		if err := r.client.retry.wait(r.ctx, backoff(r.idle)); err != nil {
			return &Error{Op: r.op, Err: err}
		}
	}
	r.idle++
	r.client.count.resumes.Add(1)
	return r.open()
}

func kindOfBreak(cause error) error {
	if errors.Is(cause, errStalled) {
		return ErrTimeout
	}
	return ErrUnavailable
}

// Close ends the reader, also while another goroutine reads.
func (r *blobReader) Close() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.body.Close()
}
