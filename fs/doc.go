// Package fs shows a registry as a directory tree and joins the registry
// client with the cache. It knows the kernel; neither of the two does.
//
// # The tree
//
//	MOUNT/                                 componentDir (the root)
//	  library/                             componentDir: a component of repository names
//	    hello-world/                       componentDir that is a repository as well
//	      _tags/                           tagsDir
//	        latest/                        artifactDir, bound to a digest
//	          manifest.json                manifestFile: the manifest's exact bytes
//	          config.json                  blobFile
//	          <hex>.tar.gz                 blobFile: a layer without a title
//	          model/weights.bin            folderDir / blobFile: a layer with a title
//	          manifests/                   folderDir, in an index only
//	            linux-amd64                link -> ../../../_manifests/sha256:…
//	      _manifests/                      manifestsDir, indexes first
//	        sha256:2f…/                    artifactDir
//	      _blobs/                          blobsDir: empty when listed, any digest by name
//	        sha256:9c…                     blobFile
//
// Words: an artifact is a manifest laid out as a directory (artifact.go); it
// belongs to a digest and never changes. A listing (listing.go) keeps the
// latest snapshot of something the registry lists: the catalog, a repository's
// tags, its manifests. Facts are what a listing tells of one tag or manifest.
// Hidden is a name that was unlinked here (hidden.go), unlisted what can_list=false
// keeps out of listings (unlisted.go), vanished what went with something else's
// deletion (vanished.go), lingering what was deleted here and is listed still
// (lingering.go).
//
// # What is asked when
//
// A listing is fetched whole, once for all who ask, and believed for
// Config.MetadataTTL. Directories are read from a snapshot, attributes and
// properties of their entries too: ls -l of 10,000 tags costs the pages and no
// request per tag. A listing that breaks off is an error of the readdir; there
// is no such thing as a part of one, nor is there when a program reads it in
// pieces (seek.go). So is one that is not found, EIO and not ENOENT, as long as
// what lists the directory has it (dirhandle.go).
//
// A name that is looked up without a listing, or that a listing lacks, is
// asked for by itself: the registry hides some items from listings, not from
// those who know the name. The answer, "no such item" included, is believed
// for the TTL too.
//
// Looking into an artifact reads its manifest, once for each digest; ls, find,
// du and stat never read a blob. Opening a blob of up to 8 MiB downloads and
// verifies it; opening a larger one asks whether it can be had, and reading
// downloads what is read (package cache). A whole blob is read by the kernel
// itself from the cache's file, where it may (passthrough.go).
//
// Whoever goes from one item to the next - repositories, artifacts, the small
// blobs of an artifact - has the following ones fetched ahead, a few at a time,
// in the order of the listing, of the names or of the inode numbers, whichever
// the tool turns out to follow (walk.go, ahead.go), and in the next list right
// from its beginning. One item alone fetches nothing ahead.
//
// A registry that gave no answer at all is not asked for five seconds
// (outage.go): what needs it fails at once, what is cached is read by digest.
//
// # What the kernel may keep
//
// What is reached through a digest, for a day. Names of repositories, tags and
// manifests for what is left of the snapshot that told them, and on a writable
// mount not at all. Refresh takes them back.
// Directories by kernelCopy (dirhandle.go): only while they show the same
// snapshot. File content, since a digest's content cannot change, but not beyond
// the download that it came from as long as that is not verified (passthrough.go).
//
// # Identity
//
// Inode numbers are hashes of what a node is (ino.go) and survive a remount;
// those of manifests grow in the order of their listing, for tools that go by
// number. A blob has one number wherever it appears, and agrees there in size,
// time, mode and attributes; tools find a shared layer by it. A descriptor with
// another size is another file. The generation tells apart what shares a number
// but must not be one node: a tag's directory is bound to a digest, so a moved tag
// is a new node; a blob is bound to its repository, since who may read it is
// decided there; content found corrupt, by a read or without one, retires its
// node, whose handles all fail from then on.
//
// # Extended attributes
//
//	repository, tag, manifest directories   user.acr.*  what the registry keeps (xattr.go has the table)
//	manifest.json                           user.oci.*  what the manifest says of itself
//	config and layers                       user.oci.digest
//
// Tags and manifests answer from the listings; a repository costs one request
// within the TTL.
//
// # Changes
//
// Only with Config.Writable. Removing the directory of a tag, manifest or
// repository is the deletion, and its error is the registry's answer; a blob
// is removed in _blobs. Unlinking a name inside an artifact sends nothing: it
// hides the name for a minute (hidden.go), so that rm -r ends in one deletion
// while a tool that only unlinks deletes nothing; and rsync, which might be
// copying in the wrong direction, removes no directory either (astray.go). A
// manifest that something live needs is EBUSY, and one of which that cannot be
// known, because the bytes of a live index or of something locked are not those
// of its digest, is EIO (live.go, relations.go). What that is, the registry told
// ten seconds ago at most, however long a listing is believed otherwise.
//
// What was changed is laid over the snapshots (changes.go) instead of fetching
// them again: lists lag behind changes, and a thousand deletions must not fetch
// a thousand lists. It is remembered until every snapshot that may be shown is
// from after it. The catalog has no times to compare: of repositories that
// it shows after their deletion here, each is asked for (lingering.go); so is an
// item by whose name somebody comes and whose flags, just set here, a list does
// not have. What a deletion took along can be removed by whoever is walking
// there, until a minute after the last removal; it is not listed (vanished.go). A
// referrer that whoever walks there knows still, and whose subject this mount
// removed, is asked for before its deletion would be sent.
//
// A tag is deleted only while it points where it did when its names were
// unlinked; when that knowledge is older than a second, the registry is asked
// first. Every change and every refusal is written down, once (audit.go).
//
// # Errors
//
// errno.go has the one table, and fail, the one place that logs a failed
// operation, but for changes, whose line says it already. ENOSYS never appears: the kernel takes it as "never ask again".
//
// # Waiting
//
// Every operation that can wait starts with opContext (opctx.go), which ends
// when the caller is being killed, and ends all waiting of the mount when its
// connection to the kernel is aborted. What is waited for belongs to nobody
// (flight.go): it has its own limit and outlives who leaves. No lock is held
// across I/O.
//
// # Departures from POSIX
//
// A directory's link count is 1 and does not tell its subdirectories. Blobs
// have two links at least, however few names are in sight. A name that was
// unlinked can come back. On a read-only mount every change is EROFS, from the
// kernel and, after a remount,rw, from every node; on a writable one whatever is
// no deletion and no flag is EPERM. atime is mtime.
package fs
