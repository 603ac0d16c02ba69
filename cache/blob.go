package cache

import (
	"context"
	"os"
)

// Blob is a handle on one blob. Its methods are safe for concurrent use.
type Blob struct{}

// ReadAt reads len(p) bytes at off, waiting for those that are still to be
// downloaded. As with io.ReaderAt a read that reaches the end of the blob
// returns what there is and io.EOF; no other read is short without an error.
//
// The end of ctx ends the wait with the ctx's error and leaves the download
// alone. An error of the Source is returned wrapped, and returned again at
// once for a few seconds.
func (b *Blob) ReadAt(ctx context.Context, p []byte, off int64) (int, error) { return 0, ErrClosed }

// Fetch waits until the whole blob is on disk and verified.
func (b *Blob) Fetch(ctx context.Context) error { return ErrClosed }

// Stored reports whether the whole blob is on disk and verified.
func (b *Blob) Stored() bool { return false }

// File returns an open descriptor of the whole, verified blob, or false when
// it is not there yet. The descriptor is the handle's: it is valid until
// Close, also when the blob is evicted meanwhile, and must not be closed.
func (b *Blob) File() (*os.File, bool) { return nil, false }

// Err returns an error that wraps ErrCorrupt once the blob's bytes turned out
// wrong, and nil before.
func (b *Blob) Err() error { return nil }

// Close gives the handle up. With the last handle of a blob its download
// pauses.
func (b *Blob) Close() error { return nil }
