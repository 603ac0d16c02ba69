package cache

import (
	"context"
	_ "crypto/sha256" // digest.Algorithm.Hash looks them up
	_ "crypto/sha512"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
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
type Cache struct {
	cfg      Config
	log      *slog.Logger
	disk     disk
	ledger   *ledger
	index    *journal
	crew     *crew
	ctx      context.Context // of all downloads
	cancel   context.CancelFunc
	counters counters
	degraded atomic.Bool  // a warning about the disk was logged and it has not worked since
	memory   memoryUse    // of flights without a disk
	foreign  atomic.Int64 // when other processes' partials were last counted, in milliseconds

	mu      sync.Mutex // guards flights and their handles; taken before a flight's own
	flights map[flightKey]*flight
}

// flightKey has the size as well: a descriptor with a wrong one must not
// harm those with the right one.
type flightKey struct {
	digest digest.Digest
	size   int64
}

const (
	// defaultStreams is what a fast line and a store at 30 ms need: storage
	// behind a registry gives 25 to 60 MiB/s to one connection.
	defaultStreams = 16
	defaultStall   = 2 * time.Minute
)

// Open opens the cache in cfg.Dir. Other processes may have it open as well.
func Open(cfg Config) (*Cache, error) {
	if cfg.Size < 0 || cfg.Streams < 0 || cfg.StallTimeout < 0 {
		return nil, fmt.Errorf("cache: negative size %d, streams %d or stall timeout %v", cfg.Size, cfg.Streams, cfg.StallTimeout)
	}
	if cfg.Verify != VerifyStream && cfg.Verify != VerifyStrict {
		return nil, fmt.Errorf("cache: unknown verification %d", cfg.Verify)
	}
	if cfg.Streams == 0 {
		cfg.Streams = defaultStreams
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = defaultStall
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{cfg: cfg, log: cfg.Logger, crew: newCrew(), flights: make(map[flightKey]*flight)}
	c.memory.most = allMemory
	if err := c.load(); err != nil {
		if c.index != nil {
			c.index.file.Close()
		}
		if c.disk.lock != nil {
			c.disk.lock.Close()
		}
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.index.run() // until Close
	c.makeRoom(0)    // the limit may be lower than last time
	return c, nil
}

// Dir is the directory of the cache.
func (c *Cache) Dir() string { return c.cfg.Dir }

// Close stops downloads, ends every wait with ErrClosed, waits for all
// goroutines of the cache and leaves partial downloads to be resumed. What is
// stored stays readable through handles that are open.
func (c *Cache) Close() error {
	c.cancel()
	if !c.crew.close() {
		return nil
	}
	c.mu.Lock()
	open := make([]*flight, 0, len(c.flights))
	for _, f := range c.flights {
		open = append(open, f)
	}
	c.mu.Unlock()
	for _, f := range open {
		f.park()
	}
	c.index.close()
	return c.disk.lock.Close()
}

// Blob returns a handle on the blob with digest d and the given size, whose
// missing bytes come from src. It does no I/O. The handle must be closed.
//
// All handles of one digest share one state and one download, and each brings
// its own Source: where the Source of one is refused another's may serve. A
// nil src serves what is there and answers ErrNotCached for the rest. With an
// invalid digest or a negative size every use of the handle is ErrCorrupt.
func (c *Cache) Blob(d digest.Digest, size int64, src Source) *Blob {
	if src == nil {
		src = noSource{}
	}
	b := &Blob{src: &origin{src}}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := flightKey{d, size}
	f := c.flights[key]
	if f == nil || f.dead.Load() || f.spent() {
		f = newFlight(c, d, size)
		if size < 0 || d.Validate() != nil {
			f.phase, f.err = phaseDead, fmt.Errorf("%w: there is no blob with this digest and size %d", ErrCorrupt, size)
			f.dead.Store(true)
		} else {
			c.flights[key] = f
		}
	}
	f.handles++
	f.mu.Lock()
	f.idle = false
	f.mu.Unlock()
	b.f = f
	return b
}

// spent reports whether a flight is about to be retired that holds nothing: its
// look into the store may have been left out.
func (f *flight) spent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idle && f.active == 0 && f.phase == phaseNew
}

// noSource is the Source of those who have none.
type noSource struct{}

func (noSource) OpenRange(context.Context, int64, int64) (io.ReadCloser, error) {
	return nil, ErrNotCached
}

// leave is called for every handle that closes.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	f.handles--
	// Under the lock, or it would pause what someone has opened meanwhile.
	rests := f.handles == 0 && f.pause()
	c.mu.Unlock()
	if rests {
		c.retire(f)
	}
}

// retire gives a flight up that has neither handles nor work left. A partial
// is parked first, which ends in another call.
func (c *Cache) retire(f *flight) {
	c.mu.Lock()
	f.mu.Lock()
	if f.handles > 0 || f.active > 0 {
		f.mu.Unlock()
		c.mu.Unlock()
		return
	}
	if f.phase == phaseFilling && f.part != nil {
		f.work(f.park) // or Close does it
		f.mu.Unlock()
		c.mu.Unlock()
		return
	}
	f.mu.Unlock()
	if key := (flightKey{f.digest, f.size}); c.flights[key] == f {
		delete(c.flights, key)
	}
	c.mu.Unlock()
	f.release()
}

// detach makes room for a fresh flight after one has died.
func (c *Cache) detach(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := (flightKey{f.digest, f.size}); c.flights[key] == f {
		delete(c.flights, key)
	}
}
