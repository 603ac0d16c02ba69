package registry

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// stallPolicy bounds how long a streamed exchange may be silent: while its
// headers are awaited and in every read of its body. A consumer that takes its
// time between two reads is not the server's silence.
type stallPolicy struct {
	limit   time.Duration
	stalled func() // called when an exchange was silent for that long
}

func (p stallPolicy) Do(req *policy.Request) (*http.Response, error) {
	var buffered bodyLimit
	if req.OperationValue(&buffered) {
		return req.Next() // bounded as a whole by MetadataTimeout
	}
	ctx, cancel := context.WithCancel(req.Raw().Context())
	w := &watched{stallPolicy: p, cancel: cancel}
	w.timer = time.AfterFunc(p.limit, w.bark)
	resp, err := req.WithContext(ctx).Next()
	w.timer.Stop()
	if err != nil {
		cancel()
		return nil, w.explain(err)
	}
	w.body = resp.Body
	resp.Body = w
	return resp, nil
}

// watched is a body with a watchdog.
type watched struct {
	stallPolicy
	body   io.ReadCloser
	timer  *time.Timer
	cancel context.CancelFunc
	barked atomic.Bool
}

func (w *watched) bark() {
	w.barked.Store(true)
	w.cancel()
	w.stalled()
}

func (w *watched) explain(err error) error {
	if err != nil && err != io.EOF && w.barked.Load() {
		return errStalled
	}
	return err
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.limit)
	n, err := w.body.Read(p)
	w.timer.Stop()
	return n, w.explain(err)
}

func (w *watched) Close() error {
	w.timer.Stop()
	defer w.cancel()
	return w.body.Close()
}
