package localacr

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// stallLimit is how long a client may send nothing of a body, and how long it
// may take over pieceSize bytes of an answer. It is generous: a suspended laptop
// may come back.
const stallLimit = 5 * time.Minute

// errReset is what a handler sees of a fault that cuts its request off.
var errReset = errors.New("connection dropped on purpose")

// brokenBody is what went wrong with a request's body, which is nobody's fault
// but the client's.
type brokenBody struct{ error }

func (b brokenBody) Unwrap() error { return b.error }

// livelyBody ends a request whose client stopped sending.
type livelyBody struct {
	rc    *http.ResponseController
	r     io.Reader
	armed time.Time
}

func (b *livelyBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.armed) > stallLimit/10 {
		b.armed = now
		b.rc.SetReadDeadline(now.Add(stallLimit)) // not supported: the listener's limits hold
	}
	n, err := b.r.Read(p)
	switch {
	case err == io.EOF:
		b.rc.SetReadDeadline(time.Time{})
	case err != nil:
		// The deadline stays: net/http goes on to wait for the rest.
		err = brokenBody{err}
	}
	return n, err
}
