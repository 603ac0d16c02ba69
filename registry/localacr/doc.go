/*
Package localacr is a registry that behaves like the data plane of Azure
Container Registry: a Server is an http.Handler over a data directory. It is
for demos, for tests, and for everyone who runs an ACR client and has no ACR at
hand. It imports nothing else of this module, so that a client and the server
that tests it cannot be wrong together.

# A request's way

	ServeHTTP      exchange.go   counts and logs; one exchange per request
	  misbehave    misbehave.go  a Fault that struck, latency; throttle.go counts
	  parseRoute   route.go      the escaped path; 404 in plain text comes before any login
	  operations   operation.go  the API in one table: method and endpoint, the access needed, who answers
	  authorize    auth.go       a challenge, or what the caller may do; entra.go checks Microsoft
	                             Entra's tokens at the exchange
	  serve        pull push blob list acr delete referrers oauth storage
	  answer       answer.go     headers, counting, and what a Fault does to bytes

A method that an endpoint does not have is a 405 that names those it has, after
the login like everything else; OPTIONS is told the same with 200.

Handlers return an error instead of answering with it; errors.go has all the
texts, which are ACR's to the letter.

Tokens outlive a restart, but not one with another AuthMode: the registry has an
id of its own in each, which is in its tokens. Whom an open registry took at his
word has no rights in one that asks for passwords.

Every mode challenges, the open one too. The official Go SDK sends each request
without its body first and expects a 401; a server that just said yes would
have lost the first upload.

# What is on disk

	ROOT/
	  registry.db            bbolt: all names, properties, manifests, keys (records.go)
	  blobs/sha256/2f/2f1c…  whole blobs, named by their digest (files.go)
	  uploads/UUID           what has arrived of uploads

A blob file says nothing about who may read it. A repository has a blob only by
its entry in the database, made by an upload or a mount; that is why
BLOB_UNKNOWN and mounting are as on ACR. A file without any such entry is
garbage, and harmless. An entry whose file is gone or cut short counts as none,
so that the next push mends it.

A blob becomes visible in this order: all bytes hashed and compared; file
synced; renamed; folder synced; entry committed. A manifest, its tag, the
indexes and the counters are one transaction. So a kill at any moment loses
nothing that was acknowledged, and shows nothing by halves. Start-up reads the
keys and nothing else, however many blobs there are.

Whoever reads the database has one consistent view (view.go) and keeps it only
while bytes go into memory, never while a client is waited for. Changes go
through one writer (commit.go), which puts all that are waiting into one
transaction: each of them first checks and then writes. What is derived
(indexes by time, by digest, by blob; counters) is kept by edit.go alone, and
view.check compares it with what it is derived from.

# Uploads

The session is the file, and the signed _state in the Location that the client
carries from step to step. It has to agree with the file's length: a chunk that
broke off leaves more bytes than the state knows of, and the session is beyond
use, as on ACR; it can still be cancelled. Running hashes are only a cache.
Sessions outlive a restart; those that lie untouched for a week go.

# Blobs out

GET answers 307 with a signed URL that lasts 20 minutes, on another host name
where one surely reaches us: 127.0.0.1 is redirected to localhost. A client must
not send its token there, and storage refuses requests that carry one. Called by
any other name, storage is on that same host and bears tokens, which clients
keep as long as the name is the same. Config.StorageHost sets it apart. Files go
out by sendfile. Config.DirectBlobs leaves the redirect out.

# Lists

Lists are walks over a bucket from a cursor, in the order of its keys: a page
costs the same wherever it is. Lists by time have a bucket of their own, ordered
by time; their Link names the last item, and cursor.go remembers its time in
case that item is gone when the client comes back.

With Config.ListLag lists show what was there a while ago: readers of the
database, opened before each change, are kept that long (lag.go).

# Deleting and collecting

Deleting removes names. Deleting a manifest takes its tags and its referrers
along, the last manifest takes the repository. Locks of all three levels are
asked first (locks.go); a repository's lock against deletion, though, only where
the repository is what was named. Collect removes blobs that no manifest of their
repository needs and then files that no repository has. It spares what was
uploaded, mounted or asked about within Config.CollectAfter: a client that was
told that a blob is there will not upload it, and its manifest is still to
come. While an upload into the repository is on its way (pushes.go), it spares
what was so when that upload began. Collect is called by whoever wants it, or by
the server itself every Config.CollectEvery (chores.go).

What was asked about, and which uploads are on their way, is remembered in
memory (touched.go). Of that a time is kept on disk that lies after all of it,
so that a Server started again, after a kill too, collects nothing while an
earlier one's word may still count or one of its pushes may go on.

# What is not there

Streaming, operations, free metadata and the metadata query (/acr/v1/…/_streaming,
_operations, _metadata, _query) are Microsoft's own tools' business; no body of
theirs is known well enough to be played. They are addresses that no route
knows: 404 in plain text. Soft delete is off: its lists are empty, and nothing
comes back. Config.NoReferrers leaves the referrers API out as well.

# Where ACR's answer is not known

Decisions of ours: pages of n <= 0 are 400, but for the empty list that the
distribution spec wants of tags/list?n=0; a cursor of a list by time that was
never given out is 404; without n the Link says 100; a read lock answers 405 as
the other locks do; blobs may be uploaded into a write-locked repository, and
neither manifests pushed nor blobs deleted; re-pushing a known manifest sets its
lastUpdateTime and keeps its createdTime; an index may name blobs instead of
manifests, as BuildKit's cache does; a locked referrer protects its subject; a
repository that is locked against deletion goes with its last manifest; an
access token that was given for another one ends with it; sha512 is taken.

# Time and waits

Config.Bandwidth is a connection's, each way (pace.go). Requests know their
connection by the client's address and port; those that run on it at one time,
as over HTTP/2, share what it carries, in turns.

Bodies have no total limit, but a client is cut off that sends nothing of one
for five minutes, or takes less than some 10 kB a second for so long. Close ends the waits of requests, and waits a few
seconds for them; http.Server.Shutdown belongs before it.
*/
package localacr
