package cache

import (
	"context"
	"io"
)

// Source is where the bytes of one blob come from.
//
// OpenRange returns a reader of exactly n bytes of the blob, beginning at
// off. The reader gives all n bytes and then io.EOF, or an error: a clean
// io.EOF before the n-th byte of the blob's end says that the blob is shorter
// than its size, which kills the blob as ErrCorrupt does. An error that wraps
// ErrCorrupt, from OpenRange or from Read, says the same. The cache asks for
// n > 0 and off+n ≤ size only.
//
// The Source repeats, resumes and gives up by itself: what it returns as an
// error is final for this range, is passed on to the readers that wait for it
// and is remembered for a few seconds. Every Read must end, with bytes or an
// error, before Config.StallTimeout.
//
// ctx belongs to the cache, not to a reader; it ends when the cache closes or
// the bytes are no longer wanted, and the reader must then fail soon.
//
// OpenRange is called from several goroutines at once. A Source that is
// comparable (a pointer, say) shares its remembered failures with every handle
// that brought an equal one.
type Source interface {
	OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error)
}
