package cache

import (
	"context"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"
)

// Verify says when the bytes of a large blob may be read.
type Verify int

const (
	// VerifyStream serves a large blob while it downloads and withholds its
	// last page until the digest has matched.
	VerifyStream Verify = iota
	// VerifyStrict serves no byte of a blob before its digest has matched.
	VerifyStrict
)

// Config configures a Cache. Dir is required, everything else has a default.
type Config struct {
	// Dir holds the cache. It is created with mode 0700 and refused when it
	// belongs to someone else or others may write to it.
	Dir string

	// Size is the most bytes kept on disk. 0 means DefaultSize.
	Size int64

	// Verify says when bytes of blobs above 8 MiB may be read. The zero value
	// is VerifyStream. Smaller blobs are always verified first.
	Verify Verify

	// Logger gets the warnings of degraded service and the errors of corrupt
	// content. Nil logs nothing.
	Logger *slog.Logger

	// Streams is the most ranges of one blob that are downloaded at the same
	// time. 0 means 16. How many really are depends on what helps.
	Streams int

	// StallTimeout is the longest wait of a reader without any progress on
	// what it waits for. 0 means two minutes. The Source's own limit should
	// be below it.
	StallTimeout time.Duration
}

// Cache is a directory of verified content. All methods are safe for
// concurrent use.
type Cache struct{}

// Open opens the cache in cfg.Dir. Other processes may have it open as well.
func Open(cfg Config) (*Cache, error) { return &Cache{}, nil }

// Close stops downloads, ends every wait with ErrClosed, waits for all
// goroutines of the cache and leaves partial downloads to be resumed.
func (c *Cache) Close() error { return nil }

// DefaultSize is the Size of a cache in dir that was given none: 20 % of the
// disk's free space, at most 10 GiB. dir need not exist.
func DefaultSize(dir string) (int64, error) { return 10 << 30, nil }

// Blob returns a handle on the blob with digest d and the given size, whose
// missing bytes come from src. It does no I/O. The handle must be closed.
//
// All handles of one digest share one state and one download, and each brings
// its own Source: where the Source of one is refused another's may serve.
func (c *Cache) Blob(d digest.Digest, size int64, src Source) *Blob { return &Blob{} }

// Get returns stored content of at most limit bytes, hashed on the way.
// Content that is not there, larger than limit, or no longer what it was, is
// ErrNotCached.
func (c *Cache) Get(ctx context.Context, d digest.Digest, limit int64) ([]byte, error) {
	return nil, ErrNotCached
}

// Put stores small content. Bytes without the digest d are ErrCorrupt. A disk
// that cannot take them is not an error: it is logged once, and nil returned.
func (c *Cache) Put(d digest.Digest, p []byte) error { return nil }

// Stats returns a snapshot of the counters.
func (c *Cache) Stats() Stats { return Stats{} }
