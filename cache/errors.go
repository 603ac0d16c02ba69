package cache

import "errors"

var (
	// ErrCorrupt says that the bytes of a blob do not have its digest or its
	// size, or that the disk does not give back those of an unfinished download
	// to tell. A handle that returned it once returns it for ever.
	ErrCorrupt = errors.New("content does not match its digest")

	// ErrChanged, beside ErrCorrupt, says that a stored file was changed by
	// someone else while it was open. The next handle on the blob verifies what
	// is there, and downloads it again if need be.
	ErrChanged = errors.New("the stored file was changed")

	// ErrNotCached is the answer of Get for content that is not in the store.
	ErrNotCached = errors.New("not in the cache")

	// ErrClosed is the answer of a closed handle and of a closed cache.
	ErrClosed = errors.New("cache closed")

	// ErrStalled ends the wait of a reader that saw no progress for
	// Config.StallTimeout.
	ErrStalled = errors.New("download made no progress")
)
