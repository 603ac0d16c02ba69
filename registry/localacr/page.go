package localacr

import (
	"bytes"
	"math"
	"net/url"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// ACR's sizes of pages: what a client gets that does not say, and the
// most that it gets.
const (
	pageDefault = 100
	pageMax     = 1000
)

// page is the part of a list that a request asks for.
type page struct {
	last  string // exclusive; empty for the beginning
	n     int
	order string // "", "timedesc" or "timeasc"
	given string // orderby as the client spelled it
}

func (x *exchange) page() (page, error) {
	p := page{last: x.query.Get("last"), n: pageDefault, given: x.query.Get("orderby")}
	if s := x.query.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		// The distribution spec wants an empty list for n=0, ACR refuses it.
		if err != nil || n < 0 || n == 0 && x.endpoint != EndpointTagsList {
			return p, errPageSize(s)
		}
		p.n = min(n, pageMax)
	}
	if p.given == "timedesc" || p.given == "timeasc" {
		p.order = p.given
	}
	return p, nil
}

// linkNext points to the page after the one that ends with last. The address
// is relative and has all three parameters, as ACR's.
func (x *exchange) linkNext(p page, last string, more ...string) {
	target := x.r.URL.EscapedPath() + "?last=" + url.QueryEscape(last) + "&n=" + strconv.Itoa(p.n) + "&orderby=" + url.QueryEscape(p.given)
	for i := 0; i+1 < len(more); i += 2 {
		target += "&" + more[i] + "=" + url.QueryEscape(more[i+1])
	}
	x.w.Header().Set("Link", "<"+target+`>; rel="next"`)
}

// walk is one pass over the keys of a bucket that begin with prefix.
type walk struct {
	c      *bolt.Cursor
	prefix []byte
	down   bool
	k, v   []byte
}

// walkFrom begins at the first key after the given one, or before it for
// down; a nil key is the beginning.
func walkFrom(c *bolt.Cursor, prefix, after []byte, down bool) *walk {
	w := &walk{c: c, prefix: prefix, down: down}
	switch {
	case !down && after == nil:
		w.k, w.v = c.Seek(prefix)
	case !down:
		if w.k, w.v = c.Seek(after); bytes.Equal(w.k, after) {
			w.k, w.v = c.Next()
		}
	default:
		if after == nil {
			after = append(prefix[:len(prefix):len(prefix)], bytes.Repeat([]byte{math.MaxUint8}, 16)...)
		}
		// Seek stops at the key or the next one; what we want is before it.
		if k, _ := c.Seek(after); k == nil {
			w.k, w.v = c.Last()
		} else {
			w.k, w.v = c.Prev()
		}
	}
	return w
}

// more reports whether the walk stands on a key that belongs to it.
func (w *walk) more() bool { return w.k != nil && bytes.HasPrefix(w.k, w.prefix) }

func (w *walk) next() {
	if w.down {
		w.k, w.v = w.c.Prev()
	} else {
		w.k, w.v = w.c.Next()
	}
}

// rest is what the present key has after the prefix.
func (w *walk) rest() string { return string(w.k[len(w.prefix):]) }
