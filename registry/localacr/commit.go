package localacr

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// errClosed is what callers get from a Server that was closed.
var errClosed = errors.New("the registry is closed")

// change is one edit of the metadata. It shares a transaction with others, so
// it checks first and writes afterwards: when it returns an error, it has
// written nothing.
type change func(edit) error

// groupLimit bounds the changes of one transaction, and with it the time that
// the first of them waits for the last.
const groupLimit = 512

// committer is the one writer of the database. While one transaction is on
// its way to the disk the next changes gather, and they go together in the
// next one: two hundred parallel pushes cost a few syncs, a lone one waits for
// nobody.
type committer struct {
	db     *bolt.DB
	past   *past
	queue  chan queued
	stop   chan struct{}
	exited chan struct{}
}

type queued struct {
	change
	result chan error
}

func startCommitter(db *bolt.DB, past *past) *committer {
	c := &committer{db: db, past: past, queue: make(chan queued), stop: make(chan struct{}), exited: make(chan struct{})}
	go c.run()
	return c
}

// close waits for the changes that were accepted and refuses all others.
func (c *committer) close() {
	close(c.stop)
	<-c.exited
}

// do makes one change durable. A ctx that ends while the change waits for its
// turn withdraws it; after that do stays until the outcome is known.
func (c *committer) do(ctx context.Context, ch change) error {
	q := queued{ch, make(chan error, 1)}
	select {
	case c.queue <- q:
		return <-q.result
	case <-ctx.Done():
		return ctx.Err()
	case <-c.exited:
		return errClosed
	}
}

func (c *committer) run() {
	defer close(c.exited)
	for {
		select {
		case q := <-c.queue:
			c.commit(q)
		case <-c.stop:
			return
		}
	}
}

// commit runs first and whoever waits behind it in one transaction.
func (c *committer) commit(first queued) {
	group := []queued{first}
	var results []error
	keep := c.past.before()
	err := c.db.Update(func(tx *bolt.Tx) error {
		e := edit{view{tx}}
		for i := 0; i < len(group); i++ {
			results = append(results, group[i].change(e))
			if len(group) < groupLimit {
				select {
				case q := <-c.queue:
					group = append(group, q)
				default:
				}
			}
		}
		return nil
	})
	keep(time.Now())
	for i, q := range group {
		if err != nil {
			q.result <- err
			continue
		}
		q.result <- results[i]
	}
}
