package registry

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"
)

func (c *Client) blobCall(op, method string, key blobKey) call {
	return c.call(op, method, blobPath(key.repo, key.digest), pullScope(key.repo)).
		with("Accept-Encoding", "identity") // the bytes that have the digest
}

func blobPath(repo string, d digest.Digest) string { return "/v2/" + repo + "/blobs/" + d.String() }

// BlobSize asks for a blob's size in bytes.
func (c *Client) BlobSize(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	op := "get size of blob " + clean(repo+"@"+d.String(), 512)
	if err := (Ref{Repository: repo, Digest: d}).checkManifest(op); err != nil {
		return 0, err
	}
	key := blobKey{repo, d}
	a, err := c.fetch(ctx, c.blobCall(op, http.MethodHead, key))
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64)
	switch {
	case a.ok() && err == nil && size >= 0:
		return size, nil
	case a.ok(), a.status == http.StatusMethodNotAllowed, !sameOrigin(a.url, c.endpoint) && a.status != http.StatusNotFound:
		// No length, no HEAD, or an address that is signed for GET alone: the
		// first byte's Content-Range tells the size too.
		b, err := c.openAt(ctx, op, key, 0, 1)
		if err != nil {
			return 0, err
		}
		defer b.Close()
		if b.total < 0 {
			return 0, broken(op, "the registry does not tell the size")
		}
		return b.total, nil
	}
	return 0, statusError(op, a.status, a.header, nil)
}

// ProbeBlob proves that a blob can be had, in one exchange or none: the
// registry is asked for its address, which the next OpenBlob will use. An
// address that is known and has not expired is proof enough.
func (c *Client) ProbeBlob(ctx context.Context, repo string, d digest.Digest) error {
	op := "probe blob " + clean(repo+"@"+d.String(), 512)
	if err := (Ref{Repository: repo, Digest: d}).checkManifest(op); err != nil {
		return err
	}
	_, err := c.locate(ctx, op, blobKey{repo, d})
	return err
}

// OpenBlob reads n bytes of a blob from off on, or to its end when n is
// negative. The reader gives exactly those bytes and then io.EOF, or an error:
// ErrCorrupt when the blob is shorter, ErrUnavailable or ErrTimeout when its
// body broke off or stalled more often than MaxRetries in a row. In between it
// reopens the blob where it stopped. The bytes are not checked against the
// digest, which a part does not have.
//
// ctx governs the reader until it is closed. The reader is for one goroutine.
func (c *Client) OpenBlob(ctx context.Context, repo string, d digest.Digest, off, n int64) (io.ReadCloser, error) {
	op := "read blob " + clean(repo+"@"+d.String(), 512)
	if err := (Ref{Repository: repo, Digest: d}).checkManifest(op); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, &Error{Op: op, Message: "a negative offset", Kind: ErrUnsupported}
	}
	if n == 0 {
		return http.NoBody, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &blobReader{client: c, ctx: ctx, cancel: cancel, op: op, key: blobKey{repo, d}, off: off, left: n, total: -1, budget: c.maxRetries}
	if err := r.open(); err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}
