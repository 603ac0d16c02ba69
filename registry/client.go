package registry

import (
	"context"
	"crypto/x509"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
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

	// Transport sends one request and must not follow redirects. nil: one of
	// our own, sized for many parallel ranges.
	Transport policy.Transporter
	// Logger gets one Debug record per HTTP exchange. nil: nothing is logged.
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
	// ThrottleWait bounds the total wait for 429 answers of one operation.
	// 0: 45s, which leaves MetadataTimeout room for the answer.
	ThrottleWait time.Duration
}

// Client talks to one registry. Its methods may be called concurrently.
type Client struct{}

// New checks cfg and returns a client. It does no I/O.
func New(cfg Config) (*Client, error) { return &Client{}, nil }

// Ping asks the endpoint whether it is a registry and whether it accepts the
// credentials. Its error is one line that says what would be right.
func (c *Client) Ping(ctx context.Context) error { return ErrUnavailable }

// Host is the registry's host[:port].
func (c *Client) Host() string { return "" }

// Stats returns a snapshot of the counters.
func (c *Client) Stats() Stats { return Stats{} }

// Close ends what runs in the background and closes idle connections.
func (c *Client) Close() error { return nil }

// Repositories lists the names of all repositories.
func (c *Client) Repositories(ctx context.Context) iter.Seq2[string, error] { return nil }

// Tags lists the tags of a repository.
func (c *Client) Tags(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Tag, error] {
	return nil
}

// Manifests lists the manifests of a repository.
func (c *Client) Manifests(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Properties, error] {
	return nil
}

// Properties tells what the registry keeps about a repository, tag or manifest.
func (c *Client) Properties(ctx context.Context, ref Ref) (Properties, error) {
	return Properties{}, ErrUnsupported
}

// Resolve tells what a tag or digest points to.
func (c *Client) Resolve(ctx context.Context, ref Ref) (Descriptor, error) {
	return Descriptor{}, ErrUnsupported
}

// Manifest returns a manifest's exact bytes, checked against its digest.
func (c *Client) Manifest(ctx context.Context, ref Ref) ([]byte, Descriptor, error) {
	return nil, Descriptor{}, ErrUnsupported
}

// BlobSize asks for a blob's size.
func (c *Client) BlobSize(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	return 0, ErrUnsupported
}

// ProbeBlob proves in at most one exchange that a blob can be had.
func (c *Client) ProbeBlob(ctx context.Context, repo string, d digest.Digest) error {
	return ErrUnsupported
}

// OpenBlob reads n bytes of a blob from off, or to its end when n is negative.
func (c *Client) OpenBlob(ctx context.Context, repo string, d digest.Digest, off, n int64) (io.ReadCloser, error) {
	return nil, ErrUnsupported
}

// Update changes access flags and returns the properties afterwards.
func (c *Client) Update(ctx context.Context, ref Ref, patch AccessPatch) (Properties, error) {
	return Properties{}, ErrUnsupported
}

// Delete deletes a repository, a tag or a manifest.
func (c *Client) Delete(ctx context.Context, ref Ref) error { return ErrUnsupported }

// DeleteBlob deletes a blob of a repository.
func (c *Client) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	return ErrUnsupported
}
