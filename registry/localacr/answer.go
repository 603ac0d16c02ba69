package localacr

import (
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answer is the ResponseWriter of every request. It counts, and where a fault
// or a limit asks for it, it spoils or slows what goes through. Without those
// a file still takes the kernel's shortcut into the socket.
type answer struct {
	http.ResponseWriter
	x      *exchange
	status int
	wrote  bool
	sent   int64 // bytes of body
	end    int64 // the body is cut here
	meddle bool  // bytes have to be looked at
	pace   *pace // nil: without limit
}

func newAnswer(x *exchange, w http.ResponseWriter) *answer {
	a := &answer{ResponseWriter: w, x: x, end: math.MaxInt64}
	f := &x.fault
	if x.lane != nil {
		a.pace = &x.lane.out
	}
	a.meddle = a.pace != nil || f.ResetAfter > 0 || f.StallAfter > 0 || f.Truncate > 0 || f.Corrupt
	return a
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush sends what was written, which makes the answer a chunked one.
func (a *answer) Flush() { http.NewResponseController(a.ResponseWriter).Flush() }

func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	a.wrote, a.status = true, status
	a.spoilHeaders()
	a.arm()
	a.ResponseWriter.WriteHeader(status)
}

// arm gives the client stallLimit for what is sent next, be it by net/http
// after the request's end.
func (a *answer) arm() {
	http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(stallLimit)) // not supported: the listener's limits hold
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	part := a.untouched
	if a.meddle {
		part = a.meddled
	}
	written := 0
	for len(p) > 0 {
		n, err := part(p)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// untouched sends a first part of p.
func (a *answer) untouched(p []byte) (int, error) {
	a.arm()
	n, err := a.ResponseWriter.Write(p[:min(len(p), pieceSize)])
	a.sent += int64(n)
	return n, err
}

// ReadFrom is what makes a file go out by sendfile. Whoever calls it gives it
// no more than pieceSize at once.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if a.meddle {
		return copyBody(a, r)
	}
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	a.arm()
	n, err := io.Copy(a.ResponseWriter, r)
	a.sent += n
	return n, err
}

// spoilHeaders does what a fault does to headers.
func (a *answer) spoilHeaders() {
	h, f := a.Header(), &a.x.fault
	if f.Truncate > 0 {
		if length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
			a.end = max(length-f.Truncate, 0)
			if f.TruncateLength {
				h.Set("Content-Length", strconv.FormatInt(a.end, 10))
			}
		}
	}
	if start, rest, ok := strings.Cut(strings.TrimPrefix(h.Get("Content-Range"), "bytes "), "-"); ok && f.WrongRange {
		if n, err := strconv.ParseInt(start, 10, 64); err == nil {
			h.Set("Content-Range", "bytes "+strconv.FormatInt(n+1, 10)+"-"+rest)
		}
	}
	if link := h.Get("Link"); link != "" && f.LinkHost != "" {
		h.Set("Link", strings.Replace(link, "<", "<"+(&url.URL{Scheme: a.x.scheme(), Host: f.LinkHost}).String(), 1))
	}
}

// meddled sends a first part of p the way the fault wants it.
func (a *answer) meddled(p []byte) (int, error) {
	f := &a.x.fault
	if f.ResetAfter > 0 && a.sent >= f.ResetAfter {
		a.Flush()
		a.reset()
	}
	if f.StallAfter > 0 && a.sent >= f.StallAfter {
		a.Flush()
		a.x.stall()
	}
	if a.sent >= a.end {
		if f.TruncateLength {
			return len(p), nil
		}
		a.Flush()
		panic(http.ErrAbortHandler)
	}
	n := int64(len(p))
	for _, stop := range []int64{f.ResetAfter, f.StallAfter, a.end} {
		if stop > a.sent {
			n = min(n, stop-a.sent)
		}
	}
	if a.pace != nil {
		n = min(n, a.pace.step())
		if !a.x.wait(a.x.r.Context(), a.pace.due(n)) {
			panic(http.ErrAbortHandler)
		}
	}
	out := p[:n]
	if at := f.CorruptAt - a.sent; f.Corrupt && at >= 0 && at < n {
		out = append([]byte(nil), out...)
		out[at] ^= 0xff
	}
	a.arm()
	written, err := a.ResponseWriter.Write(out)
	a.sent += int64(written)
	if err == nil && a.pace != nil {
		a.Flush()
	}
	return written, err
}

// reset drops the connection the hard way, so that the client sees it broken
// and not ended.
func (a *answer) reset() {
	if conn, _, err := http.NewResponseController(a.ResponseWriter).Hijack(); err == nil {
		raw := conn
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
			raw = t.NetConn()
		}
		if tcp, ok := raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}
