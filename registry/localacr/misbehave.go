package localacr

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// misbehave does what a fault does before a request is looked at. It reports
// whether the request goes on.
func (x *exchange) misbehave() bool {
	f := &x.fault
	if !x.wait(x.r.Context(), max(x.cfg.Latency, f.Delay)) {
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		x.w.reset()
	}
	if f.Stall {
		x.stall()
	}
	if f.IgnoreRange {
		x.r.Header.Del("Range")
	}
	if f.PageSize > 0 {
		if n, err := strconv.Atoi(x.query.Get("n")); err != nil || n > f.PageSize {
			x.query.Set("n", strconv.Itoa(f.PageSize))
		}
	}
	if f.RetryAfter != "" {
		x.w.Header().Set("Retry-After", f.RetryAfter)
	}
	switch {
	case f.RedirectLoop:
		http.Redirect(x.w, x.r, x.scheme()+"://"+x.r.Host+x.r.URL.RequestURI(), http.StatusTemporaryRedirect)
	case f.Status != 0 && x.endpoint == EndpointStorage:
		x.storageError(f.Status, storageCode(f.Status), "The fault was asked for.")
	case f.Status != 0:
		x.commonHeaders(reading)
		x.fail(failed(f.Status))
	default:
		return true
	}
	return false
}

// stall keeps the connection silent until the client leaves or the server
// closes.
func (x *exchange) stall() {
	// Over HTTP/2 a deadline ends the stream even if nothing is to be sent.
	http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
	select {
	case <-x.r.Context().Done():
	case <-x.closing:
	}
	panic(http.ErrAbortHandler)
}

// input is the request's body, at the connection's pace and with the fault's
// accident in it.
func (x *exchange) input() io.Reader {
	var r io.Reader = &livelyBody{rc: http.NewResponseController(x.w), r: x.r.Body}
	if x.lane != nil {
		r = &pacedBody{x: x, r: r, pace: &x.lane.in}
	}
	if x.fault.ResetUpload > 0 {
		r = &resetBody{x: x, r: r, left: x.fault.ResetUpload}
	}
	return r
}

// atMost is the request's body, an error if it is longer than limit.
func (x *exchange) atMost(limit int64) io.ReadCloser {
	return http.MaxBytesReader(x.w, io.NopCloser(x.input()), limit)
}

// resetBody drops the connection once it has let a number of bytes through.
type resetBody struct {
	x    *exchange
	r    io.Reader
	left int64
}

func (b *resetBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errReset
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
