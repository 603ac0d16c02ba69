package localacr

import (
	"encoding/binary"
	"time"
)

// The database's buckets. Keys are names joined by NUL, which no name has, so
// that a repository's entries lie side by side in the order lists want them.
//
//	settings        name                          secrets of this data directory
//	repository      REPO                          repositoryRecord
//	tag             REPO TAG                      tagRecord
//	tag-time        REPO time TAG                 -, lists by time
//	tag-target      REPO DIGEST TAG               -, tags of a manifest
//	manifest        REPO DIGEST                   manifestRecord
//	manifest-time   REPO time DIGEST              -, lists by time
//	manifest-bytes  REPO DIGEST                   the manifest as it was pushed
//	referrer        REPO SUBJECT DIGEST           -, the subject need not exist
//	blob            REPO DIGEST                   blobRecord: the repository has this blob
//	blob-use        REPO BLOB MANIFEST            -, the manifest needs this, if it is a blob
//	holder          BLOB REPO                     -, the file is needed as long as there is one
var (
	bucketSettings      = []byte("settings")
	bucketRepository    = []byte("repository")
	bucketTag           = []byte("tag")
	bucketTagTime       = []byte("tag-time")
	bucketTagTarget     = []byte("tag-target")
	bucketManifest      = []byte("manifest")
	bucketManifestTime  = []byte("manifest-time")
	bucketManifestBytes = []byte("manifest-bytes")
	bucketReferrer      = []byte("referrer")
	bucketBlob          = []byte("blob")
	bucketBlobUse       = []byte("blob-use")
	bucketHolder        = []byte("holder")

	buckets = [][]byte{bucketSettings, bucketRepository, bucketTag, bucketTagTime, bucketTagTarget, bucketManifest,
		bucketManifestTime, bucketManifestBytes, bucketReferrer, bucketBlob, bucketBlobUse, bucketHolder}
)

// attributes are ACR's changeableAttributes, in the order of the wire.
type attributes struct {
	DeleteEnabled     bool   `json:"deleteEnabled"`
	WriteEnabled      bool   `json:"writeEnabled"`
	ReadEnabled       bool   `json:"readEnabled"`
	ListEnabled       bool   `json:"listEnabled"`
	QuarantineDetails string `json:"quarantineDetails,omitempty"`
	QuarantineState   string `json:"quarantineState,omitempty"`
}

// unlocked is what everything begins with.
var unlocked = attributes{DeleteEnabled: true, WriteEnabled: true, ReadEnabled: true, ListEnabled: true}

// removable reports whether the thing itself lets itself be deleted: without
// the write flag there is no deletion either, as on ACR.
func (a attributes) removable() bool { return a.DeleteEnabled && a.WriteEnabled }

type repositoryRecord struct {
	Created    time.Time
	Updated    time.Time
	Manifests  int
	Tags       int
	Attributes attributes
}

type tagRecord struct {
	Digest     string
	Created    time.Time // of the name: it survives moves
	Updated    time.Time
	Attributes attributes
}

type manifestRecord struct {
	MediaType       string
	Size            int64 // of the manifest's own bytes
	ImageSize       int64 // with all that it refers to, as ACR counts; 0 without any layer
	Created         time.Time
	Updated         time.Time
	Architecture    string
	OS              string
	ConfigMediaType string
	Subject         string
	References      []reference
	Attributes      attributes
}

// reference is a child of an index.
type reference struct {
	Digest       string `json:"digest"`
	Architecture string `json:"architecture,omitempty"`
	OS           string `json:"os,omitempty"`
}

type blobRecord struct {
	Size   int64
	Linked time.Time
}

// instant is now as ACR tells time: UTC, in steps of 100 ns.
func instant() time.Time { return time.Now().UTC().Truncate(100 * time.Nanosecond) }

// key joins names by NUL.
func key(names ...string) []byte {
	n := len(names)
	for _, s := range names {
		n += len(s)
	}
	k := make([]byte, 0, n)
	for i, s := range names {
		if i > 0 {
			k = append(k, 0)
		}
		k = append(k, s...)
	}
	return k
}

// prefix is what the keys of everything below names begin with.
func prefix(names ...string) []byte { return append(key(names...), 0) }

// timeKey sorts a repository's items by time, and those of one time by name.
func timeKey(repo string, t time.Time, item string) []byte {
	k := binary.BigEndian.AppendUint64(prefix(repo), uint64(t.UnixNano()))
	return append(k, item...)
}

// timeKeyItem is the item of a time key of repo.
func timeKeyItem(repo string, k []byte) string { return string(k[len(repo)+1+8:]) }
