package localacr

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Check compares all indexes and counters with what they are derived from.
func (s *Server) Check() error { return s.store.view(view.check) }

// Backdate makes an upload look older than it is.
func (s *Server) Backdate(repo, digest string, by time.Duration) error {
	return s.store.commit.do(context.Background(), func(e edit) error {
		b, ok, err := e.blob(repo, digest)
		if err != nil || !ok {
			return firstError(err, errBlobUnknown())
		}
		return e.linkBlob(repo, digest, b.Size, b.Linked.Add(-by))
	})
}

// ForgetPromises makes all that was promised so far look too old to matter.
func (s *Server) ForgetPromises() error {
	long := time.Unix(1, 0)
	s.touched.mu.Lock()
	s.touched.mark, s.touched.last = time.Time{}, time.Time{}
	s.touched.mu.Unlock()
	_, err := s.store.saveMark(context.Background(), func() time.Time { return long })
	return err
}

// Crowd gives a repository n blobs of no bytes, files and all.
func (s *Server) Crowd(repo string, n int) error {
	for done := 0; done < n; {
		batch := min(n-done, 10_000)
		err := s.store.commit.do(context.Background(), func(e edit) error {
			for i := range batch {
				digest := digestOf("", strconv.AppendInt(nil, int64(done+i), 10))
				path := s.store.files.path(digest)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					return err
				}
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					return err
				}
				if err := e.linkBlob(repo, digest, 0, instant()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		done += batch
	}
	return nil
}

// Touch is what a client does that asks for a blob; Step is a request of an
// upload.
func (s *Server) Touch(repo, digest string) error {
	_, err := s.touched.touch(context.Background(), repo, digest)
	return err
}

func (s *Server) Step(repo, id string) {
	s.touched.pushes.step(uploadState{Name: repo, UUID: id, StartedAt: time.Now()})()
}

// Remembered is how many blobs and uploads are kept in mind.
func (s *Server) Remembered() (blobs, uploads int) {
	s.touched.mu.Lock()
	defer s.touched.mu.Unlock()
	s.touched.pushes.mu.Lock()
	defer s.touched.pushes.mu.Unlock()
	return len(s.touched.times), s.touched.pushes.total
}

// StallLimit is how long a client may keep silent.
const StallLimit = stallLimit

// TouchedLimit and PushesLimit bound what Remembered returns.
const (
	TouchedLimit = touchedLimit
	PushesLimit  = pushesLimit
)

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
