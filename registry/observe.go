package registry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Stats is a snapshot of a client's counters since New.
type Stats struct {
	Exchanges int64 // HTTP exchanges of every kind, retries included
	Retries   int64 // exchanges repeated after a fault or throttling
	Throttled int64 // answers of 429
	Failures  int64 // exchanges without an answer, or with a 5xx
	Tokens    int64 // requests for tokens
	Redirects int64 // blob locations handed out by the registry
	Resumes   int64 // blob bodies reopened where they broke or stalled
	BytesRead int64 // body bytes received
}

// counters are the live Stats.
type counters struct {
	exchanges, retries, throttled, failures, tokens, redirects, resumes, bytesRead atomic.Int64
}

func (n *counters) snapshot() Stats {
	return Stats{
		Exchanges: n.exchanges.Load(),
		Retries:   n.retries.Load(),
		Throttled: n.throttled.Load(),
		Failures:  n.failures.Load(),
		Tokens:    n.tokens.Load(),
		Redirects: n.redirects.Load(),
		Resumes:   n.resumes.Load(),
		BytesRead: n.bytesRead.Load(),
	}
}

// observePolicy is the innermost policy: it sees every exchange as it goes
// over the wire, counts it and logs it in one line when its body is closed.
type observePolicy struct {
	endpoint *url.URL
	log      *slog.Logger
	count    *counters
}

func (p *observePolicy) Do(req *policy.Request) (*http.Response, error) {
	start := time.Now()
	p.count.exchanges.Add(1)
	resp, err := req.Next()
	if err != nil {
		err = withoutURL(err)
		p.count.failures.Add(1)
		p.record(req.Raw(), slog.String("error", err.Error()), slog.Duration("duration", time.Since(start)))
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		p.count.throttled.Add(1)
	case resp.StatusCode >= 500:
		p.count.failures.Add(1)
	}
	resp.Body = &observedBody{ReadCloser: resp.Body, count: p.count, done: func(n int64) {
		p.record(req.Raw(), slog.Int("status", resp.StatusCode), slog.Int64("bytes", n), slog.Duration("duration", time.Since(start)))
	}}
	return resp, nil
}

// record logs method and path of the registry's own requests. Of other hosts,
// which are storage with signed URLs and token services, only the host.
func (p *observePolicy) record(req *http.Request, attrs ...slog.Attr) {
	if !p.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	where := slog.String("host", req.URL.Host)
	if sameOrigin(req.URL, p.endpoint) {
		where = slog.String("path", req.URL.EscapedPath())
	}
	p.log.LogAttrs(context.Background(), slog.LevelDebug, "exchange",
		append([]slog.Attr{slog.String("method", req.Method), where}, attrs...)...)
}

// withoutURL strips the wrapper of net/http, whose text repeats the URL with
// its signed query.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// observedBody counts bytes as they arrive. done runs once, at the first Close.
type observedBody struct {
	io.ReadCloser
	count  *counters
	n      atomic.Int64 // Close may come during a Read
	done   func(n int64)
	closed atomic.Bool
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	b.count.bytesRead.Add(int64(n))
	return n, err
}

func (b *observedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.closed.CompareAndSwap(false, true) {
		b.done(b.n.Load())
	}
	return err
}
