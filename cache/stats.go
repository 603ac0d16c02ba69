package cache

// Stats is a snapshot of a cache's counters. Those without another word count
// since Open.
type Stats struct {
	Stored  int64 // bytes of whole, verified content now
	Partial int64 // bytes of unfinished downloads now
	Evicted int64 // bytes of removed files that are still open now
	Limit   int64 // most bytes, as configured
	Files   int64 // stored files now

	Hits      int64 // blobs opened, and Gets answered, from the store
	Misses    int64 // blobs that had to be downloaded, and Gets not answered
	Downloads int64 // blobs downloaded, verified and stored
	Resumed   int64 // downloads that went on with bytes of an earlier one
	Ranges    int64 // ranges asked of Sources
	Fetched   int64 // bytes that came from Sources
	Failures  int64 // ranges that failed

	Evictions   int64 // files removed to keep the limit
	Corruptions int64 // blobs whose bytes did not match
	Rechecks    int64 // files hashed again before use
	Diskless    int64 // blobs read without the disk
}
