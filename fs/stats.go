package fs

import "sync/atomic"

// Stats counts what a mount did since it was mounted.
type Stats struct {
	Opens    int64 // blobs opened
	Reads    int64 // reads of blobs that came to the daemon and not past it
	Failures int64 // operations that ended in an error, missing names included
}

type counters struct {
	opens    atomic.Int64
	reads    atomic.Int64
	failures atomic.Int64
}

func (c *counters) snapshot() Stats {
	return Stats{Opens: c.opens.Load(), Reads: c.reads.Load(), Failures: c.failures.Load()}
}
