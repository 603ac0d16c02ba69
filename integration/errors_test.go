package integration

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestFaultsBecomeErrnos goes through the contract's table of errors.
func TestFaultsBecomeErrnos(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		code   string
		want   syscall.Errno
	}{
		{"not found", http.StatusNotFound, "BLOB_UNKNOWN", unix.ENOENT},
		{"locked", http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION", unix.EPERM},
		{"unauthorized", http.StatusUnauthorized, "UNAUTHORIZED", unix.EACCES},
		{"forbidden", http.StatusForbidden, "DENIED", unix.EACCES},
		{"server error", http.StatusInternalServerError, "UNKNOWN", unix.EIO},
		{"bad answer", http.StatusTeapot, "TEAPOT", unix.EIO},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEveryServer(t, func(t *testing.T, s *server) {
				files := fixture.Files("a.txt", "content a", "b.txt", "content b")
				push(t, s, "app", "v1", files)
				m := mountServer(t, s)
				checkArtifactNames(t, m.tagDir("app", "v1"), files)
				lift := s.gate.add(contentOf(files.Blobs[1].Digest), answer(row.status, row.code))
				within(t, "the error", time.Minute, func() {
					_, err := os.ReadFile(m.path("app/_tags/v1/a.txt"))
					checkErrno(t, "read", err, row.want)
				})
				if content, err := os.ReadFile(m.path("app/_tags/v1/b.txt")); err != nil || string(content) != "content b" {
					t.Errorf("the file beside it: %q, %v", content, err)
				}
				lift()
				waitFor(t, "the failure to be forgotten", func() bool {
					content, err := os.ReadFile(m.path("app/_tags/v1/a.txt"))
					return err == nil && string(content) == "content a"
				})
			})
		})
	}
}

// checkArtifactNames compares names alone, and so reads no layer.
func checkArtifactNames(t testing.TB, dir string, m *fixture.Manifest) {
	t.Helper()
	checkNames(t, dir, expect(t, m))
}

// TestListingErrorsAreErrnos fails each kind of listing.
func TestListingErrorsAreErrnos(t *testing.T) {
	for _, row := range []struct {
		kind string
		dir  string
	}{
		{"catalog", ""}, {"tags", "app/_tags"}, {"manifests", "app/_manifests"},
	} {
		t.Run(row.kind, func(t *testing.T) {
			s := newLocalACR(t)
			push(t, s, "app", "v1", fixture.Chart("1"))
			m := mountServer(t, s)
			lift := s.gate.add(listing(row.kind), answer(http.StatusForbidden, "DENIED"))
			_, err := os.ReadDir(m.path(row.dir))
			checkErrno(t, "list "+row.dir, err, unix.EACCES)
			lift()
			waitFor(t, "the listing", func() bool {
				entries, err := os.ReadDir(m.path(row.dir))
				return err == nil && len(entries) > 0
			})
		})
	}
}

// TestThrottlingIsObeyedThenTold has the registry ask for patience: once it is
// given, without end it is ETIMEDOUT.
func TestThrottlingIsObeyedThenTold(t *testing.T) {
	t.Parallel() // waits more than it works
	s := newLocalACR(t)
	files := fixture.Files("a.txt", "content a")
	push(t, s, "app", "v1", files)
	m := mountServer(t, s)
	s.gate.add(times(2, contentOf(files.Blobs[1].Digest)), throttle("1"))
	began := time.Now()
	if content, err := os.ReadFile(m.path("app/_tags/v1/a.txt")); err != nil || string(content) != "content a" {
		t.Errorf("a registry that throttles twice: %q, %v", content, err)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("two answers with Retry-After: 1 were obeyed in %v", took)
	}
	other := fixture.Files("b.txt", "content b")
	push(t, s, "app", "v2", other)
	s.gate.add(contentOf(other.Blobs[1].Digest), throttle("3600"))
	within(t, "a registry that throttles for an hour", 90*time.Second, func() {
		_, err := os.ReadFile(m.path("app/_tags/v2/b.txt"))
		checkErrno(t, "read", err, unix.ETIMEDOUT)
	})
}

// TestTransientFaultsAreRetried lets each kind of request fail a little.
func TestTransientFaultsAreRetried(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		image := fixture.MultiArch("1")
		push(t, s, "app", "v1", image)
		m := mountServer(t, s)
		for _, do := range []misdeed{hangUp, answer(http.StatusServiceUnavailable, "BUSY"), answer(http.StatusBadGateway, "")} {
			s.gate.add(times(1, listing("catalog")), do)
			s.gate.add(times(1, listing("tags")), do)
			s.gate.add(times(1, about("/manifests/")), do)
			s.gate.add(times(1, about("/blobs/")), do)
		}
		checkArtifact(t, m.tagDir("app", "v1"), image)
		for _, child := range image.Children {
			checkArtifact(t, m.manifestDir("app", child.Digest), child)
		}
	})
}

// TestBrokenBodiesAreContinued drops every connection after a part of the
// blob. What arrived counts.
func TestBrokenBodiesAreContinued(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		large := fixture.Large(1, 24<<20)
		blob := large.Blobs[1]
		push(t, s, "app", "v1", large)
		m := mountServer(t, s)
		s.gate.add(contentOf(blob.Digest), breakAfter(3<<20))
		s.gate.forget()
		if err := sameContent(m.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
			t.Error(err)
		}
		if got := s.gate.bytesOf(blob.Digest); got > blob.Size+blob.Size/4 {
			t.Errorf("%d bytes were sent for a blob of %d", got, blob.Size)
		}
	})
}

// TestStalledBodyIsReopened stops a body for good. Once the program's own limit
// has passed, it asks again where it was.
func TestStalledBodyIsReopened(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the stall limit")
	}
	t.Parallel() // waits more than it works
	s := newLocalACR(t)
	large := fixture.Large(1, 4<<20)
	blob := large.Blobs[1]
	push(t, s, "app", "v1", large)
	m := mountServer(t, s)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.gate.add(times(1, contentOfStorage(blob)), stallAfter(1<<20, release))
	within(t, "a read through a stall", 100*time.Second, func() {
		if err := sameContent(m.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
			t.Error(err)
		}
	})
}

// contentOfStorage strikes the answers that carry a blob's bytes on a
// registry that redirects.
func contentOfStorage(b fixture.Blob) match {
	return both(contentOf(b.Digest), func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/v2/") })
}
