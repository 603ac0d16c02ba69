// Package registry is a client for Azure Container Registry and for every
// registry that speaks the OCI distribution protocol. It lists, reads, changes
// and deletes; it does not upload.
//
// # Terms
//
// A repository holds manifests, tags and blobs. A manifest is a small JSON
// document named by its digest; a tag is a name that points to a manifest and
// may be moved; a blob is content named by its digest, which manifests refer
// to. An index is a manifest that points to manifests. [Ref] names any of them
// but a blob.
//
// # Dialects
//
// Azure keeps properties (times, flags, counts) and serves them under /acr/v1;
// the plain protocol knows only /v2. What differs is one interface, dialect,
// with two implementations, acr.go and oci.go; nothing else asks which of them
// it is. The first call that needs to know asks the registry once.
//
// Plain registries cannot list manifests. There a listing is made of what the
// tags point to and of the children of indexes (children.go).
//
// # The way of a request
//
//	operation        list.go manifest.go blob.go delete.go properties.go
//	   │ call        what to ask, and the scope that a token must allow
//	   ▼
//	retryPolicy      faults are counted, throttling is bounded by time; a
//	   │             request waits for its turn in the pace of all (pace.go)
//	   ▼
//	bufferPolicy     metadata bodies are read here, so that a broken one is repeated
//	   ▼
//	authPolicy       a token for the scope, beforehand; one renewal after a 401
//	   ▼
//	stallPolicy      of blobs: silence has a limit, in headers and in bodies
//	   ▼
//	observePolicy    counts, and logs one line per exchange
//	   ▼
//	transports       one round trip: no redirect followed, error bodies cut
//
// The list is in Client.pipeline. Metadata and blobs differ only in the
// transport at the end.
//
// # Logging in
//
// The first 401 tells how: Basic, or a token from a realm (challenge.go). From
// then on a token is fetched before the request that needs it, one for each
// scope, and kept until shortly before it expires (login.go, token.go). Azure's
// tokens say what they are good for: one that may read every repository is used
// for all of them, and is asked for beside the one that is needed (wide.go).
//
//	list repositories           registry:catalog:*
//	list, get properties        repository:NAME:metadata_read    plain OCI: pull
//	update properties           repository:NAME:metadata_write
//	get manifests and blobs     repository:NAME:pull
//	delete                      repository:NAME:delete
//
// The credential source is asked at a login when its last answer is a minute
// old or was refused, never in between; what is sent as it is counts as a login
// every ten minutes. While the source fails, its last answer is used until that
// is refused. A login that was refused is not tried again for some seconds
// (refused.go). What the source gives decides the way:
//
//	user and password        Basic, or at the realm for an access token
//	identity token           at the realm for an access token
//	registry token           is one already
//	Microsoft Entra          at the registry's own /oauth2/exchange for a
//	                         refresh token, and with that at its own realm
//
// Another kind of credential is another case in logins.offer or fetchToken.
//
// # Blobs
//
// Azure answers a GET of a blob with a signed address at a storage service,
// good for some minutes. It is remembered per blob (location.go), so that all
// ranges of a blob cost one question. A storage service that refuses it gets
// one more chance with a new address.
//
// A body that breaks off or falls silent is reopened at the byte where it
// stopped (resume.go). What is read is exactly what was asked for, or an error;
// it is not checked against the digest, which only the whole blob has.
//
// # Rules
//
//   - Every wait ends: metadata by MetadataTimeout, blobs by StallTimeout and a
//     bounded number of reopenings, all by the caller's context.
//   - Every header, body, page, list, cache and number of requests in flight is
//     bounded.
//   - Manifests are checked against their digest before they are returned. Only
//     the signatures of a signed schema 1 document have no part in it.
//   - Names that are outside the protocol's grammar are never asked for and
//     never returned, so that a name can be a path. A listing skips them with
//     one Warn.
//   - A listing that cannot go on yields an error; it never just ends. An answer
//     that holds no list is such an error, and not an empty one.
//   - A Link to the next page stays at the registry's origin (scheme, host and
//     port). So does every Authorization header. A registry on https leads
//     nowhere but to https.
//   - Credentials go in clear only to loopback, or to a registry that its user
//     spelled http:// and allowed by PlainHTTP; never to another host that such
//     a registry names.
//   - A Microsoft Entra token goes to the registry itself, over https or
//     loopback, and nowhere else, whatever the challenge says.
//   - Tokens, passwords and the queries of signed addresses are in no log and
//     no error.
//   - A 404 to the repetition of our own deletion is success.
//   - A tag's deletion never takes its manifest: see oci.deleteTag.
//   - Work that callers share (a login, the address of a blob, the dialect)
//     belongs to the client: a caller that leaves stops waiting, and Close
//     ends it. No lock is held across I/O.
package registry
