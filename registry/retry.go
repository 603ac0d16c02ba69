package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	firstDelay = 200 * time.Millisecond // doubles with each repetition
	maxDelay   = 10 * time.Second       // of our own choice, and of a 5xx's Retry-After
)

// trail is what happened on the way to an answer.
type trail struct {
	tries int
	// uncertain: an earlier try may have been carried out, although its answer
	// was lost. A 404 to the repetition of a deletion then means success.
	uncertain bool
}

// hasty marks requests that are repeated once at most after a fault.
type hasty bool

// retryPolicy sends a request when its turn comes, and repeats it after faults
// of the connection, 408, 429 and 5xx. Faults are counted, throttling is bounded
// by time: a registry that says when to come back is working as intended, and is
// asked again then. A wait that would outlast the context is not begun.
//
// It stands in for azcore's, which counts both alike, does not repeat broken
// bodies and keeps no trail.
type retryPolicy struct {
	max          int
	throttleWait time.Duration
	endpoint     *url.URL
	pace         *pacer // of requests to the endpoint
	count        *counters
	wait         func(ctx context.Context, d time.Duration) error
}

func (p *retryPolicy) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	t := &trail{}
	req.OperationValue(&t)
	faults, throttled, budget := 0, 0, p.max
	var urged hasty
	if req.OperationValue(&urged) {
		budget = min(budget, 1)
	}
	turn := turn{policy: p, patience: p.throttleWait}
	if sameOrigin(req.Raw().URL, p.endpoint) {
		turn.pace = p.pace
	}
	delay := time.Duration(0)
	for {
		if err := turn.wait(ctx, delay); err != nil {
			return nil, err
		}
		if err := req.RewindBody(); err != nil {
			return nil, err
		}
		t.tries++
		resp, err := req.Clone(ctx).Next()
		if ctx.Err() != nil {
			discard(resp)
			return nil, context.Cause(ctx)
		}
		switch {
		case err != nil && permanent(err):
			return nil, err
		case err != nil:
			t.uncertain = true
			faults++
			delay = backoff(faults)
		case resp.StatusCode == http.StatusTooManyRequests:
			throttled++
			delay = max(retryAfter(resp.Header), backoff(throttled))
			turn.refused(delay)
			if turn.patience -= delay; p.max == 0 || turn.patience < 0 {
				return resp, nil
			}
		case repeatable(resp.StatusCode):
			t.uncertain = true
			faults++
			if delay = retryAfter(resp.Header); delay > maxDelay {
				return resp, nil
			}
			delay = max(delay, backoff(faults))
		default:
			return resp, nil
		}
		if faults > budget || outlasts(ctx, delay) {
			return resp, err
		}
		discard(resp)
		p.count.retries.Add(1)
	}
}

// turn is when the tries of one request may be sent.
type turn struct {
	policy   *retryPolicy
	pace     *pacer // nil for other hosts than the registry
	patience time.Duration
	ticket   ticket
}

// wait returns when the request may be sent, after delay at least. Waiting for
// the pace costs patience.
func (t *turn) wait(ctx context.Context, delay time.Duration) error {
	now := time.Now()
	earliest := now.Add(delay)
	for {
		at := earliest
		if t.pace != nil {
			by := earliest.Add(t.patience)
			if deadline, ok := ctx.Deadline(); ok && deadline.Before(by) {
				by = deadline
			}
			var ok bool
			if t.ticket, ok = t.pace.take(earliest, by); !ok {
				return &Error{Op: "wait for a turn", Message: "more requests than the registry takes, or than it is to get", Kind: ErrThrottled}
			}
			at = t.ticket.at
		}
		if at.After(now) {
			if err := t.policy.wait(ctx, at.Sub(now)); err != nil {
				if t.pace != nil {
					t.pace.giveBack(t.ticket)
				}
				return err
			}
		}
		if t.pace == nil || t.pace.send(t.ticket) {
			t.patience -= at.Sub(earliest)
			return nil
		}
		now = time.Now()
	}
}

func (t *turn) refused(pause time.Duration) {
	if t.pace != nil {
		t.pace.refused(t.ticket, pause)
	}
}

// repeatable: 501 and 505 say "never", every other 5xx may say "not now",
// those of proxies included (520 to 530).
func repeatable(status int) bool {
	return status == http.StatusRequestTimeout ||
		(status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported)
}

// permanent: the next try would end the same way.
func permanent(err error) bool {
	var (
		ours    *Error // a refused login
		dns     *net.DNSError
		certErr *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &ours), errors.Is(err, errTooLong), errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &certErr):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	}
	return false
}

// backoff is the wait before the n-th repetition, with jitter so that many
// clients that failed together do not come back together.
func backoff(n int) time.Duration {
	d := min(firstDelay<<min(n-1, 16), maxDelay)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// retryAfter reads when the server wants to be asked again; 0 when it does not
// say. Azure's services give milliseconds too.
func retryAfter(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if ms, err := strconv.ParseInt(h.Get(name), 10, 32); err == nil && ms > 0 {
			return time.Duration(ms) * time.Millisecond
		}
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseInt(value, 10, 32); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

func outlasts(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < d
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// discard reads the little that may be left of a body, so that its connection
// can be used again, and closes it.
func discard(resp *http.Response) {
	if resp == nil {
		return
	}
	io.CopyN(io.Discard, resp.Body, maxErrorBody) //nolint:errcheck // it is thrown away
	resp.Body.Close()
}
