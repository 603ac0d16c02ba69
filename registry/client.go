package registry

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// Config says which registry a Client talks to, and how. Only Endpoint is
// required.
type Config struct {
	// Endpoint is the registry: "myregistry.azurecr.io" (https),
	// "https://host[:port]" or "http://127.0.0.1:5000".
	Endpoint string
	// PlainHTTP allows http:// to hosts that are not loopback. Whatever is
	// sent there, credentials included, can be read on the way.
	PlainHTTP bool
	// RootCAs are the authorities trusted for TLS. nil: the system's.
	RootCAs *x509.CertPool

	// Credentials is asked before each new login. nil: anonymous.
	Credentials CredentialSource

	// Transport sends one request and must not follow redirects; of an
	// *http.Client only its Transport is used. nil: one of our own, sized for
	// many parallel ranges; it uses the proxy that the environment names.
	Transport policy.Transporter
	// Logger gets one Debug record per HTTP exchange, and a Warn for what a
	// listing had to skip. nil: nothing is logged.
	Logger *slog.Logger
	// UserAgent is sent with every request. "": "acrfs".
	UserAgent string

	// MetadataTimeout bounds one metadata operation, retries included, and
	// for lists one page. 0: 60s.
	MetadataTimeout time.Duration
	// StallTimeout is the longest time without a byte of a blob. 0: 30s.
	StallTimeout time.Duration
	// MaxRetries is how often one exchange is repeated after a fault, and how
	// often in a row a broken blob body is reopened. 0: 4; negative: never.
	MaxRetries int
	// ThrottleWait bounds how long one operation waits in all for its turn: after
	// 429 answers, or under RequestRate. 0: 45s. Reads wait within MetadataTimeout,
	// changes beyond it.
	ThrottleWait time.Duration
	// RequestRate is how many requests the registry gets in a second at most,
	// those to the storage that it redirects to left out. 0: as many as there
	// are, until it refuses one with a 429; then as many as it takes.
	RequestRate float64
}

// Client talks to one registry. Its methods may be called concurrently.
type Client struct {
	endpoint        *url.URL
	userAgent       string
	log             *slog.Logger
	metadataTimeout time.Duration
	stallTimeout    time.Duration
	maxRetries      int

	retry      *retryPolicy
	transports transports
	metadata   runtime.Pipeline
	blobs      runtime.Pipeline
	logins     *logins
	probe      probe
	locations  *locations
	children   *lru.Cache[digest.Digest, []child] // of indexes, on plain OCI registries

	tagTakesManifest atomic.Bool // see oci.deleteTag

	shared *background
	count  *counters
}

// New checks cfg and returns a client. It does no I/O.
func New(cfg Config) (*Client, error) {
	endpoint, err := parseEndpoint(cfg.Endpoint, cfg.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if cfg.MetadataTimeout < 0 || cfg.StallTimeout < 0 || cfg.ThrottleWait < 0 {
		return nil, errors.New("registry client: a timeout cannot be negative")
	}
	if !(cfg.RequestRate >= 0) {
		return nil, errors.New("registry client: a request rate cannot be negative")
	}
	c := &Client{
		endpoint:        endpoint,
		userAgent:       or(cfg.UserAgent, "acrfs"),
		log:             or(cfg.Logger, slog.New(slog.DiscardHandler)),
		metadataTimeout: or(cfg.MetadataTimeout, 60*time.Second),
		stallTimeout:    or(cfg.StallTimeout, 30*time.Second),
		maxRetries:      max(0, or(cfg.MaxRetries, 4)),
		transports:      newTransports(cfg.Transport, cfg.RootCAs),
		shared:          newBackground(),
		count:           &counters{},
	}
	c.logins = &logins{endpoint: endpoint, source: cfg.Credentials, fetch: c.fetch, shared: c.shared, count: c.count}
	c.logins.tokens, c.logins.refusals = newTokenCache(), newRefusals()
	c.locations = &locations{known: newLRU[blobKey, location](maxLocations)}
	c.children = newLRU[digest.Digest, []child](maxIndexes)
	c.retry = &retryPolicy{
		max: c.maxRetries, throttleWait: or(cfg.ThrottleWait, 45*time.Second), wait: sleep,
		endpoint: endpoint, pace: newPacer(cfg.RequestRate, c.log), count: c.count,
	}
	c.metadata = c.pipeline(c.transports.metadata)
	c.blobs = c.pipeline(c.transports.blobs)
	return c, nil
}

// pipeline lists what every request passes through, outermost first.
func (c *Client) pipeline(transport policy.Transporter) runtime.Pipeline {
	return runtime.NewPipeline("acrfs", "", runtime.PipelineOptions{
		PerCall: []policy.Policy{
			c.retry,
		},
		PerRetry: []policy.Policy{
			bufferPolicy{},
			&authPolicy{logins: c.logins},
			stallPolicy{limit: c.stallTimeout, stalled: c.transports.closeIdle},
			&observePolicy{endpoint: c.endpoint, log: c.log, count: c.count},
		},
	}, &policy.ClientOptions{
		Transport: transport,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // ours, see retryPolicy
		Telemetry: policy.TelemetryOptions{Disabled: true},
	})
}

// Host is the registry's host[:port].
func (c *Client) Host() string { return c.endpoint.Host }

// Stats returns a snapshot of the counters.
func (c *Client) Stats() Stats { return c.count.snapshot() }

// Close ends the work that callers share, waits for it, and closes idle
// connections. Bodies that are still open stay usable.
func (c *Client) Close() error {
	c.shared.end()
	c.transports.closeIdle()
	return nil
}

// or returns value, or instead when value is zero.
func or[T comparable](value, instead T) T {
	var zero T
	if value == zero {
		return instead
	}
	return value
}

// newLRU is lru.New for the constant sizes of this package: the only error is
// a size that is not positive.
func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err)
	}
	return cache
}
