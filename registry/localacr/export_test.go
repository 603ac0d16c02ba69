package localacr

import (
	"context"
	"time"
)

// Check compares all indexes and counters with what they are derived from.
func (s *Server) Check() error { return s.store.view(view.check) }

// Backdate makes an upload look older than it is.
func (s *Server) Backdate(repo, digest string, by time.Duration) error {
	return s.store.commit.do(context.Background(), func(e edit) error {
		b, ok, err := e.blob(repo, digest)
		if err != nil || !ok {
			return orError(err, errBlobUnknown())
		}
		return e.linkBlob(repo, digest, b.Size, b.Linked.Add(-by))
	})
}

// Lanes is how many connections have a bandwidth of their own right now.
func (s *Server) Lanes() int {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	return len(s.lanes.open)
}

// WrapGzip and WrapZstd are the samples' compressors.
var WrapGzip, WrapZstd = wrapGzip, wrapZstd

// Parsers that see foreign input.
var (
	ParseRange        = parseRange
	ParseContentRange = parseContentRange
	ParseScopes       = func(field string) int { return len(parseScopes([]string{field})) }
	ParseManifest     = func(mediaType string, data []byte, want string) (string, error) {
		p, err := parseManifest(mediaType, data, want)
		return p.digest, err
	}
	PlainBase64 = plainBase64
	DigestOf    = digestOf
)

// ParseRoute returns a path's endpoint, repository and reference.
func ParseRoute(path string) (e Endpoint, name, ref string, ok bool) {
	rt, fate := parseRoute(path)
	return rt.endpoint, rt.name, rt.ref, fate == routed
}

// ReadState reports whether an upload state is one of ours.
func (s *Server) ReadState(state string) bool {
	_, ok := s.uploads.readState(state)
	return ok
}

// Decode reads a stored record of each kind and writes it again.
func Decode(data []byte) [][]byte {
	var again [][]byte
	for _, r := range []record{&repositoryRecord{}, &tagRecord{}, &manifestRecord{}, &blobRecord{}} {
		if decode(data, r) == nil {
			again = append(again, encode(r))
		}
	}
	return again
}

// Records are one of each kind, as they are stored.
func Records() [][]byte {
	now, a := instant(), attributes{DeleteEnabled: true, QuarantineState: "Passed", QuarantineDetails: "{}"}
	return [][]byte{
		encode(&repositoryRecord{now, now, 3, 4, a}),
		encode(&tagRecord{"sha256:x", now, now, a}),
		encode(&manifestRecord{"t", 1, 2, now, now, "amd64", "linux", "c", "s", []reference{{"d", "arm", "linux"}, {"e", "", ""}}, a}),
		encode(&blobRecord{5, now}),
	}
}
