package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// cachedFile finds a blob's whole file in a cache directory. It waits for it,
// since readers are served before the file is safe on the disk.
func cachedFile(t testing.TB, cache string, blob fixture.Blob) (found string) {
	t.Helper()
	waitFor(t, "the blob to be in the cache", func() bool {
		err := filepath.WalkDir(cache, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.Contains(filepath.ToSlash(path), "/blobs/") && strings.Contains(d.Name(), blob.Digest.Encoded()) {
				found = path
			}
			return ignoreGone(err)
		})
		if err != nil {
			t.Fatal(err)
		}
		return found != ""
	})
	return found
}

// damage flips a byte in the middle of a blob's file in a cache.
func damage(t testing.TB, cache string, blob fixture.Blob) {
	t.Helper()
	path := cachedFile(t, cache, blob)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	one := make([]byte, 1)
	if _, err := file.ReadAt(one, blob.Size/2); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 0xff
	if _, err := file.WriteAt(one, blob.Size/2); err != nil {
		t.Fatal(err)
	}
}

// TestWarmReadsAskForNoContent reads from a cache that another mount filled.
func TestWarmReadsAskForNoContent(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		holdings := []holding{
			{"app", "v1", fixture.MultiArch("1"), nil}, {"app", "sizes", fixture.Boundaries(), nil},
		}
		for _, h := range holdings {
			push(t, s, h.repo, h.tag, h.m)
		}
		m := mountServer(t, s)
		for _, h := range holdings {
			checkArtifact(t, m.tagDir(h.repo, h.tag), h.m)
		}
		m.unmount()
		again := mountWith(t, s, mountOptions{cache: m.cache})
		s.gate.forget()
		for _, h := range holdings {
			checkArtifact(t, again.tagDir(h.repo, h.tag), h.m)
		}
		if n := s.gate.count(isContent); n > 0 {
			t.Errorf("reading what is cached downloaded %d blobs:\n%s", n, s.gate.describe())
		}
		s.gate.forget()
		for _, h := range holdings {
			checkArtifact(t, again.manifestDir(h.repo, h.m.Digest), h.m)
		}
		if n := s.gate.count(func(r *record) bool { return strings.Contains(r.Path, "/blobs/") || isManifestGet(r) }); n > 0 {
			t.Errorf("reading what is cached by digest asked the registry %d times:\n%s", n, s.gate.describe())
		}
	})
}

func isManifestGet(r *record) bool {
	return r.Method == "GET" && strings.Contains(r.Path, "/manifests/")
}

// TestKilledMountIsRepairedAndResumed kills the program in mid-download and
// mounts again at the same place.
func TestKilledMountIsRepairedAndResumed(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		const size = 48 << 20
		large := fixture.Large(8, size)
		blob := large.Blobs[1]
		push(t, s, "app", "v1", large)
		m := mountServer(t, s)
		release := make(chan struct{})
		lift := s.gate.add(contentOf(blob.Digest), stallAfter(20<<20, release))
		go readThrough(m.path("app/_tags/v1/large.bin")) // ends with the mount
		waitFor(t, "half of the download", func() bool { return s.gate.bytesOf(blob.Digest) >= 16<<20 })
		waitFor(t, "the server to stall", func() bool {
			before := s.gate.bytesOf(blob.Digest)
			time.Sleep(300 * time.Millisecond)
			return s.gate.bytesOf(blob.Digest) == before
		})
		m.kill()
		lift()
		close(release)
		if _, err := os.ReadDir(m.dir); !errors.Is(err, unix.ENOTCONN) {
			t.Fatalf("the mount point of a killed program: %v, want %v", err, unix.ENOTCONN)
		}
		had := s.gate.bytesOf(blob.Digest)
		s.gate.forget()
		again := mountWith(t, s, mountOptions{dir: m.dir, cache: m.cache})
		if err := sameContent(again.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
			t.Error(err)
		}
		// What was sent may have been on its way still; what was written by
		// and large is not asked for again.
		if got := s.gate.bytesOf(blob.Digest); got > size-had/2 {
			t.Errorf("%d bytes came before the kill and %d of %d after it", had, got, size)
		}
	})
}

// TestKillsLeaveNothingWrong kills the program again and again at different
// points of several downloads, always on the same cache.
func TestKillsLeaveNothingWrong(t *testing.T) {
	s := newLocalACR(t)
	const size = 24 << 20
	spec := fixture.Spec{Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: fixture.Text("{}")}}
	for i, title := range []string{"a", "b", "c"} {
		spec.Layers = append(spec.Layers, fixture.Titled(title, fixture.Noise(uint64(60+i), size)))
	}
	artifact := fixture.Build(spec)
	push(t, s, "app", "v1", artifact)
	o := mountOptions{dir: openDir(t), cache: filepath.Join(openDir(t), "cache")}
	for _, part := range []int64{1, 9, 22, 30, 47} {
		m := mountWith(t, s, o)
		s.gate.forget()
		var sent int64
		for _, title := range []string{"a", "b", "c"} {
			go readThrough(m.path("app/_tags/v1", title)) // ends with the mount
		}
		waitFor(t, "a part of the downloads, or their end", func() bool {
			before := sent
			sent = 0
			for _, blob := range artifact.Blobs[1:] {
				sent += s.gate.bytesOf(blob.Digest)
			}
			return sent > part<<20 || sent > 0 && sent == before
		})
		m.kill()
	}
	m := mountWith(t, s, o)
	checkArtifact(t, m.tagDir("app", "v1"), artifact)
	m.unmount()
	// Nothing is asked for twice: what is there is whole.
	s.gate.forget()
	checkArtifact(t, mountWith(t, s, o).tagDir("app", "v1"), artifact)
	if n := s.gate.count(isContent); n > 0 {
		t.Errorf("after all was read, %d blobs were downloaded once more:\n%s", n, s.gate.describe())
	}
}

// TestCachedContentIsReadableWithoutARegistry takes the registry away.
func TestCachedContentIsReadableWithoutARegistry(t *testing.T) {
	t.Parallel() // waits more than it works
	onEveryServer(t, func(t *testing.T, s *server) {
		index := fixture.MultiArch("1")
		push(t, s, "app", "v1", index)
		m := mountServer(t, s, "--metadata-ttl", "100ms")
		for _, manifest := range family(index) {
			checkArtifact(t, m.manifestDir("app", manifest.Digest), manifest)
		}
		s.stop()
		time.Sleep(200 * time.Millisecond) // the TTL
		within(t, "cached content without a registry", 30*time.Second, func() {
			for _, manifest := range family(index) {
				checkArtifact(t, m.manifestDir("app", manifest.Digest), manifest)
			}
		})
		within(t, "df without a registry", 5*time.Second, func() {
			shell(t, `df "$1" "$1/app/_manifests/$2/manifest.json"`, m.dir, index.Digest.String())
		})
		within(t, "a listing without a registry", time.Minute, func() {
			_, err := os.ReadDir(m.path("app/_tags"))
			checkErrno(t, "list tags", err, unix.EIO)
		})
		s.start(t)
		waitFor(t, "the listing", func() bool {
			entries, err := os.ReadDir(m.path("app/_tags"))
			return err == nil && len(entries) == 1
		})
	})
}

// TestStaleListingsAreServedWhenAsked is --stale-if-error.
func TestStaleListingsAreServedWhenAsked(t *testing.T) {
	t.Parallel() // waits more than it works
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s, "--metadata-ttl", "100ms", "--stale-if-error", "1h")
	if got := names(t, m.path("app/_tags")); len(got) != 1 {
		t.Fatalf("tags: %q", got)
	}
	s.stop()
	time.Sleep(300 * time.Millisecond) // the TTL
	within(t, "a stale listing", time.Minute, func() {
		if got := names(t, m.path("app/_tags")); len(got) != 1 || got[0] != "v1" {
			t.Errorf("tags without a registry: %q", got)
		}
	})
}

// TestStatfsNeverWaits asks for the file system's size while the registry
// answers nothing.
func TestStatfsNeverWaits(t *testing.T) {
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s)
	file := open(t, m.path("app/_tags/v1/manifest.json"))
	release := make(chan struct{})
	s.gate.add(always, hold(release))
	t.Cleanup(func() { close(release) })
	within(t, "statfs", 2*time.Second, func() {
		var got unix.Statfs_t
		for range 100 {
			if err := unix.Statfs(m.dir, &got); err != nil {
				t.Error(err)
			}
			if err := unix.Fstatfs(int(file.Fd()), &got); err != nil {
				t.Error(err)
			}
		}
		if got.Bsize == 0 {
			t.Errorf("statfs: %+v", got)
		}
	})
}
