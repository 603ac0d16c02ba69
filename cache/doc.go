// Package cache keeps content by digest on disk, bounded in bytes, and serves
// it while it is still being downloaded.
//
// It knows digests and disks and nothing of HTTP or registries: bytes come
// from a Source, which its user brings.
//
// # Concepts
//
// A blob is content with a digest and a size. A Blob is a handle on one; all
// handles of one blob share a flight, which is either the stored file or the
// download that makes it. A chunk is 64 KiB of a blob: the grain in which a
// download is handed out, recorded and resumed. A range is a run of chunks
// asked of a Source in one request, and a stream is such a request running. A
// partial is the sparse file of an unfinished download. The store is the
// directory of whole, verified files; the index says what they were when they
// were verified; the ledger is the same in memory, with the sums that keep the
// limit.
//
// # On disk
//
//	Dir/                             0700, of the user who runs this
//	  lock                           flock: shared while open, exclusive while starting alone
//	  index                          journal of records, shared by all processes (record.go)
//	  blobs/sha256/ab/abcd…          whole files
//	  partial/sha256-abcd…           sparse, flocked by who downloads it
//	  partial/sha256-abcd….map       which chunks are there (partial.go)
//	  tmp/                           small or private downloads; swept by who starts alone, or needs the room
//
// # The way of a byte
//
//	Source ──range──> buffer ──write──> partial ──┬──> readers, chunk by chunk
//	  (parallel)         │                        │
//	                     │ next in order          │ out of order: read back
//	                     └──────────> one hasher <┘
//	                                      │ the digest matched
//	                                      v
//	                      last page is served, File() is there
//	                                      │
//	                      fsync, record, rename, record
//
// A reader that misses a chunk waits for that chunk. What is fetched for it
// depends on how it reads (plan.go): a random reader gets its pages and
// little more, a sequential one a window that grows until it is clear that it
// wants the whole blob, which is then completed as long as a handle is open. A
// read that touches the last page of a large blob needs all of it. The number
// of streams is raised as long as that makes the download clearly faster: one
// on a fast line, many on one with latency. Read-ahead stays within 32 MiB of
// what is hashed, where it comes faster than that; a reader that waits for it
// need not wait until an earlier run's bytes are hashed.
//
// # What verified means
//
// Blobs up to 8 MiB, and with VerifyStrict all, are served when the digest of
// all their bytes has matched. Of larger ones everything but the last 4 KiB
// page is served as it comes; that page is withheld until then. So nobody who
// reads a blob to its end has seen wrong bytes without an error.
//
// When the digest does not match, or there are fewer or more bytes than the
// size says, the flight is dead: every handle of it answers ErrCorrupt from
// then on, whatever it read before, and the next handle is on a new flight.
// Only when the wrong bytes may be those of an earlier run, and nobody has
// seen any, the download begins afresh by itself, once.
//
// Who keeps what it has read for longer than its handle, as a kernel does, hears
// of that by OnDeath, and learns by Verified whether it may: the next handle may be
// on another download.
//
// A stored file is opened, and its size, inode, mtime and ctime compared with
// the index's. When they differ, or the index has none (the files of Put,
// which are not synced, and of a lost index), it is hashed again before its
// first byte is served, and kept or thrown away. A file that is changed while it is
// open kills its flight when a handle meets it, or asks (Changed).
//
// # Crashes
//
// A file enters the store by rename, after its digest matched and its data was
// synced. A record that counts it is written before and completed after, and
// who records that one is gone looks once more, so that no file is in the store
// uncounted. Chunks enter the map of their partial after their data was
// written: a killed process loses what was in its buffers. After a reboot only
// those count that a sync, named in the map, had covered; partials are synced
// when they are closed. Lines of index and map that a crash cut short are
// skipped; an index that is lost or damaged is made anew from the names in the
// store.
//
// # Other processes
//
// Any number may share a directory. Each reads what the others appended to the
// index before it evicts, and when it misses a blob. A blob that another
// process is downloading is downloaded by both, the second into a private
// file: simple, and nobody waits for a process that may be stopped. Partials
// of others count by their allocated blocks, looked at once a second. Those that
// nobody has locked are taken over when there is no room otherwise.
//
// # The limit
//
// Stored files, chunks of partials, files that were removed while open, and
// other processes' partials together stay below Config.Size: room is made
// before bytes are written, by removing what was used longest ago and is not
// open, partials without readers included. Recency survives a restart by
// records of use in the index.
//
// # Without the disk
//
// When there is no room (everything else is open, or the blob is larger than
// the limit) or the disk cannot be written, readers do not notice: chunks stay
// in up to 32 MiB of memory per blob (256 MiB for all) and are fetched again
// when they were dropped; who reads from one end to the other needs none twice.
// Of each a checksum is kept, so that what was served, what was hashed in order
// and what is served later is the same (diskless.go). One warning is logged until
// a blob is stored again.
//
// A disk that cannot be read is an error of the read. Where it is the hash that
// reads back, the flight is dead: chunks on the disk have no checksum that bytes
// of another try could be held to.
//
// # Waits, locks, goroutines
//
// Downloads run under the cache's context, never a reader's: leaving stops the
// waiting only. A wait ends with bytes, with the Source's error, with
// ErrStalled after Config.StallTimeout without progress, with its context, or
// with ErrClosed. An error of a Source is remembered for 5 seconds, for
// readers with the same Source.
//
// Locks are taken in the order Cache.mu, flight.mu, ledger.mu or crew.mu, and
// none is held across I/O. A read of a stored blob takes none. The journal has
// one goroutine that owns it; all others belong to the crew, which Close waits
// for, and count as a flight's work, whose last one closes a flight without
// handles.
package cache
