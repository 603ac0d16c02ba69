package cache

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// Size tells the size of a stored blob, false for one that is not stored
// whole.
func (c *Cache) Size(d digest.Digest) (int64, bool) {
	size, _, ok := c.ledger.lookup(d)
	return size, ok
}

// Get returns stored content of at most limit bytes, hashed before it is
// returned, every time. Content that is not there, larger than limit, or no
// longer what it was, is ErrNotCached.
func (c *Cache) Get(ctx context.Context, d digest.Digest, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if !c.crew.enter() {
		return nil, ErrClosed
	}
	defer c.crew.leave()
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("get %q: %w: %w", d, ErrNotCached, err)
	}
	p, err := c.readStored(d, limit)
	if err != nil {
		c.counters.misses.Add(1)
		return nil, fmt.Errorf("get %s: %w", d, ErrNotCached)
	}
	c.counters.hits.Add(1)
	c.touch(d)
	return p, nil
}

func (c *Cache) readStored(d digest.Digest, limit int64) ([]byte, error) {
	file, err := os.Open(c.disk.blob(d))
	if err != nil {
		c.unlistVanished(d, err)
		return nil, err
	}
	defer file.Close()
	size, _, err := statFile(file)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, ErrNotCached
	}
	p := make([]byte, size)
	if _, err := io.ReadFull(file, p); err != nil {
		return nil, err
	}
	if d.Algorithm().FromBytes(p) != d {
		c.counters.corruptions.Add(1)
		c.log.Warn("stored content has changed and is fetched again", "digest", d.String())
		removeName(file)
		c.unlist(d)
		return nil, ErrCorrupt
	}
	return p, nil
}

// Put stores small content. Bytes without the digest d are ErrCorrupt. A disk
// that cannot take them is not an error: it is logged once, and nil returned.
//
// The file is not synced: Get hashes it every time, and the index says that it
// was not verified, so Blob does as well.
func (c *Cache) Put(d digest.Digest, p []byte) error {
	if !c.crew.enter() {
		return ErrClosed
	}
	defer c.crew.leave()
	if err := d.Validate(); err != nil {
		return fmt.Errorf("put %q: %w: %w", d, ErrCorrupt, err)
	}
	if got := d.Algorithm().FromBytes(p); got != d {
		return fmt.Errorf("put %s: %w: the digest is %s", d, ErrCorrupt, got)
	}
	if _, _, ok := c.ledger.lookup(d); ok {
		c.touch(d)
		return nil
	}
	size := int64(len(p))
	if !c.makeRoom(size) {
		c.warnDiskless("the cache is full of files in use", nil, nil)
		return nil
	}
	c.ledger.move(d, size)
	// The record before the file, as in flight.store, and again after it: who
	// looked between has recorded that there is none.
	r := record{op: '+', digest: d, size: size, used: time.Now().UnixMilli()}
	c.index.add(r)
	if err := c.writeContent(d, p); err != nil {
		c.unlist(d)
		c.warnDiskless("the disk of the cache cannot be written", nil, err)
		return nil
	}
	c.index.add(r)
	c.healthy()
	return nil
}

func (c *Cache) writeContent(d digest.Digest, p []byte) (err error) {
	file, err := c.disk.createTemp("put-*")
	if err != nil {
		return err
	}
	defer file.Close()
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	if _, err := file.Write(p); err != nil {
		return err
	}
	_, err = c.disk.store(file, d)
	return err
}
