package localacr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Collected says what Collect removed.
type Collected struct {
	Links int   // blobs taken out of a repository
	Blobs int   // files
	Bytes int64 // their size
}

// collectBatch is how many blobs are taken out in one transaction, so that
// pushes do not wait.
const collectBatch = 256

// Collect removes the blobs that no manifest refers to and that no client has
// touched for Config.CollectAfter, and then the files that nobody has any
// more. It is safe beside pushes: what they uploaded, or were told is there,
// is younger than that, or was so when an upload began that is on its way.
func (s *Server) Collect(ctx context.Context) (Collected, error) {
	var c Collected
	if !s.enter() {
		return c, errClosed
	}
	defer s.leave()
	before := time.Now().Add(-s.cfg.CollectAfter)
	if err := s.collectLinks(ctx, &c); err != nil {
		return c, fmt.Errorf("collect: %w", err)
	}
	if err := s.collectFiles(ctx, before, &c); err != nil {
		return c, fmt.Errorf("collect: %w", err)
	}
	s.cfg.Logger.Info("collected", "links", c.Links, "blobs", c.Blobs, "bytes", c.Bytes)
	_, err := s.store.files.dropUploads(time.Now().Add(-uploadLife))
	return c, err
}

// link is a blob in a repository.
type link struct{ repo, digest string }

// collectLinks walks over all blobs of all repositories, a batch at a time.
func (s *Server) collectLinks(ctx context.Context, c *Collected) error {
	var after []byte
	for ctx.Err() == nil {
		var batch []link
		end := false
		err := s.store.view(func(v view) error {
			w := walkFrom(v.tx.Bucket(bucketBlob).Cursor(), nil, after, false)
			for n := 0; n < 16*collectBatch && len(batch) < collectBatch; n++ {
				if end = !w.more(); end {
					return nil
				}
				repo, digest, _ := cutLast(w.rest(), "\x00")
				if idle, _, err := s.idleBlob(v, link{repo, digest}); err != nil {
					return err
				} else if idle {
					batch = append(batch, link{repo, digest})
				}
				after = key(repo, digest)
				w.next()
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.unlink(ctx, batch, c); err != nil || end {
			return err
		}
	}
	return ctx.Err()
}

// idleBlob reports whether nothing needs the blob in its repository, and when
// that came to have it.
func (s *Server) idleBlob(v view, l link) (idle bool, linked time.Time, err error) {
	b, ok, err := v.blob(l.repo, l.digest)
	return ok && !v.blobUsed(l.repo, l.digest) && !s.touched.lately(l, b.Linked, time.Now()), b.Linked, err
}

// unlink asks again inside the transaction, and takes the blobs out. From then
// until the outcome is on disk nobody is told that they are there.
func (s *Server) unlink(ctx context.Context, batch []link, c *Collected) error {
	if len(batch) == 0 {
		return nil
	}
	var gone []link
	err := s.store.commit.do(ctx, func(e edit) error {
		for _, l := range batch {
			idle, linked, err := s.idleBlob(e.view, l)
			if err != nil {
				return err
			}
			if !idle || !s.touched.doom(l, linked, time.Now()) {
				continue
			}
			gone = append(gone, l)
			if err := e.unlinkBlob(l.repo, l.digest); err != nil {
				return err
			}
		}
		return nil
	})
	s.touched.spare(gone)
	if err == nil {
		c.Links += len(gone)
	}
	return err
}

// collectFiles deletes the blob files that no repository holds. A young one
// may belong to a push that is about to enter it.
func (s *Server) collectFiles(ctx context.Context, before time.Time, c *Collected) error {
	for _, algorithm := range []string{"sha256", "sha512"} {
		for i := range 256 {
			dir := filepath.Join(s.store.files.blobs, algorithm, fmt.Sprintf("%02x", i))
			entries, err := os.ReadDir(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			for _, entry := range entries {
				if err := ctx.Err(); err != nil {
					return err
				}
				digest := algorithm + ":" + entry.Name()
				info, err := entry.Info()
				if err != nil || !validDigest(digest) || info.ModTime().After(before) {
					continue
				}
				size, err := s.store.removeUnheld(ctx, digest)
				if err != nil {
					return err
				}
				if size >= 0 {
					c.Blobs++
					c.Bytes += size
				}
			}
		}
	}
	return nil
}
