package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// verifiedFirst is the size up to which a blob is verified before its first
// byte is served.
const verifiedFirst = 8 << 20

// TestWrongBytesAreNeverServedSilently flips one byte of a blob on its way.
func TestWrongBytesAreNeverServedSilently(t *testing.T) {
	for _, row := range []struct {
		name   string
		size   int64
		offset int64
		flags  []string
		strict bool // nothing of the blob may be readable
	}{
		{"first byte of a small blob", 100 << 10, 0, nil, true},
		{"last byte of a small blob", 100 << 10, 100<<10 - 1, nil, true},
		{"at the limit", verifiedFirst, 5 << 20, nil, true},
		{"first byte of a streamed blob", 20 << 20, 0, nil, false},
		{"middle of a streamed blob", 20 << 20, 11<<20 + 17, nil, false},
		{"last byte of a streamed blob", 20 << 20, 20<<20 - 1, nil, false},
		{"strict", 20 << 20, 20<<20 - 1, []string{"--verify=strict"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEveryServer(t, func(t *testing.T, s *server) {
				large := fixture.Large(uint64(row.size), row.size)
				blob := large.Blobs[1]
				push(t, s, "app", "v1", large)
				m := mountServer(t, s, row.flags...)
				lift := s.gate.add(contentOf(blob.Digest), corrupt(row.offset))
				n, err := readThrough(m.path("app/_tags/v1/large.bin"))
				checkErrno(t, "read", err, unix.EIO)
				switch {
				case row.strict && n > 0:
					t.Errorf("%d unverified bytes were served", n)
				case n > row.size-4096:
					t.Errorf("%d of %d bytes were served although one was wrong", n, row.size)
				}
				lift()
				waitFor(t, "a fresh read to work once the server is healed", func() bool {
					return sameContent(m.path("app/_tags/v1/large.bin"), blobEntry(blob)) == nil
				})
			})
		})
	}
}

// readThrough reads a file from beginning to end and returns how far it came.
func readThrough(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{file}, make([]byte, 128<<10))
}

// TestMismatchKillsEveryOpenHandle has two handles on a blob, one of which has
// read good bytes before the wrong one arrives.
func TestMismatchKillsEveryOpenHandle(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		const size = 40 << 20
		large := fixture.Large(3, size)
		blob := large.Blobs[1]
		push(t, s, "app", "v1", large)
		push(t, s, "app", "v2", large)
		m := mountServer(t, s)
		lift := s.gate.add(contentOf(blob.Digest), corrupt(size-100))
		early := open(t, m.path("app/_tags/v1/large.bin"))
		beside := open(t, m.path("app/_tags/v2/large.bin"))
		buffer := make([]byte, 64<<10)
		if _, err := early.ReadAt(buffer, 0); err != nil {
			t.Fatalf("the first bytes are good, and reading them: %v", err)
		}
		if _, err := readThrough(m.path("app/_tags/v1/large.bin")); err == nil {
			t.Fatal("reading through a wrong byte succeeded")
		}
		lift()
		// Whether the kernel has a copy of the page or not.
		for _, offset := range []int64{size - 4096, size / 2, 0} {
			for name, file := range map[string]*os.File{"that has read": early, "that has not": beside} {
				waitFor(t, fmt.Sprintf("the handle %s to fail at %d", name, offset), func() bool {
					_, err := file.ReadAt(buffer[:4096], offset)
					return errors.Is(err, unix.EIO)
				})
			}
		}
		waitFor(t, "the next look-up to be a new file", func() bool {
			return sameContent(m.path("app/_tags/v2/large.bin"), blobEntry(blob)) == nil
		})
		if n, err := early.ReadAt(buffer[:4096], size-4096); !errors.Is(err, unix.EIO) {
			t.Errorf("the old handle came back to life: %d bytes, %v", n, err)
		}
	})
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestWrongManifestIsRefused serves other bytes under a manifest's digest.
func TestWrongManifestIsRefused(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		files := fixture.Files("a.txt", "content a")
		push(t, s, "app", "v1", files)
		m := mountServer(t, s)
		lift := s.gate.add(both(about("/v2/app/manifests/"), isGet), corrupt(30))
		_, err := os.ReadFile(m.path("app/_tags/v1/manifest.json"))
		checkErrno(t, "read a manifest with a wrong byte", err, unix.EIO)
		lift()
		waitFor(t, "the manifest", func() bool {
			content, err := os.ReadFile(m.path("app/_tags/v1/manifest.json"))
			return err == nil && string(content) == string(files.Raw)
		})
	})
}

// TestLastPageIsWithheldUntilTheDigestMatched reads all of a streamed blob but
// its end, which the server holds back.
func TestLastPageIsWithheldUntilTheDigestMatched(t *testing.T) {
	s := newLocalACR(t)
	const size = 12 << 20
	large := fixture.Large(5, size)
	blob := large.Blobs[1]
	push(t, s, "app", "v1", large)
	m := mountServer(t, s)
	s.gate.add(contentOf(blob.Digest), corrupt(10<<20))
	file := open(t, m.path("app/_tags/v1/large.bin"))
	within(t, "the tail of a wrong blob", time.Minute, func() {
		buffer := make([]byte, 4096)
		if n, err := file.ReadAt(buffer, size-4096); !errors.Is(err, unix.EIO) {
			t.Errorf("the last page of a blob with a wrong byte elsewhere: %d bytes, %v; want %v", n, err, unix.EIO)
		}
	})
}

// TestDamagedCacheIsNotServed changes a cached file behind the program's back.
func TestDamagedCacheIsNotServed(t *testing.T) {
	s := newLocalACR(t)
	large := fixture.Large(6, 9<<20)
	blob := large.Blobs[1]
	push(t, s, "app", "v1", large)
	m := mountServer(t, s)
	path := m.path("app/_tags/v1/large.bin")
	if err := sameContent(path, blobEntry(blob)); err != nil {
		t.Fatal(err)
	}
	m.unmount()
	damage(t, m.cache, blob)
	again := mountWith(t, s, mountOptions{cache: m.cache})
	if err := sameContent(again.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
		t.Errorf("after the cached file was changed: %v", err)
	}
}

// TestUnverifiedBytesDoNotOutliveTheirDownload: a reader has seen a wrong byte and
// gone no further. Whoever comes when the server is healed reads none of what the
// kernel kept of it.
func TestUnverifiedBytesDoNotOutliveTheirDownload(t *testing.T) {
	const size = 40 << 20
	for _, row := range []struct {
		name  string
		size  int64 // of what is read at first
		flags []string
		open  bool // the first reader stays
		lose  bool // what came of it is removed
	}{
		{"larger than the cache", 4 << 20, []string{"--cache-size=10M"}, false, false},
		{"found out when nobody reads", 24 << 20, nil, false, false},
		{"found out beside an open file", 24 << 20, nil, true, false},
		{"lost", 4 << 20, nil, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEveryServer(t, func(t *testing.T, s *server) {
				large := fixture.Large(11, size)
				blob := large.Blobs[1]
				push(t, s, "app", "v1", large)
				m := mountServer(t, s, row.flags...)
				path := m.path("app/_tags/v1/large.bin")
				lift := s.gate.add(contentOf(blob.Digest), corrupt(500_000))
				file := open(t, path)
				wrong := make([]byte, row.size)
				if _, err := io.ReadFull(file, wrong); err != nil {
					t.Fatal(err)
				}
				if bytes.Equal(wrong, contentAt(t, blob, row.size)) {
					t.Fatal("the first reader saw no wrong byte")
				}
				if row.size > size/2 { // the rest comes by itself
					m.output.await(t, "blob is corrupt")
				}
				if row.open {
					waitFor(t, "the open file to fail", func() bool {
						_, err := file.ReadAt(wrong[:4096], 500_000/4096*4096)
						return errors.Is(err, unix.EIO)
					})
				} else {
					file.Close()
				}
				if row.lose { // unless all of it was on its way already
					waitFor(t, "the download to pause", func() bool {
						return removePaused(t, m.cache) > 0 || strings.Contains(m.output.String(), "blob is corrupt")
					})
				}
				lift()
				got, err := os.ReadFile(path)
				if err == nil && digest.FromBytes(got) != blob.Digest {
					t.Errorf("%d bytes were read to the end without an error, and are wrong", len(got))
				}
				waitFor(t, "the next reader", func() bool { return sameContent(path, blobEntry(blob)) == nil })
			})
		})
	}
}

// contentAt is the beginning of a blob.
func contentAt(t testing.TB, blob fixture.Blob, n int64) []byte {
	t.Helper()
	body, err := io.ReadAll(io.LimitReader(blob.Open(), n))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// removePaused removes the downloads that nobody is at work on, and returns how
// many that were.
func removePaused(t testing.TB, cache string) (n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(cache, "partial", "*"))
	for _, path := range paths {
		file, openErr := os.Open(path)
		if openErr != nil {
			continue // removed meanwhile
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && !strings.HasSuffix(path, ".map") {
			err = errors.Join(err, os.Remove(path))
			n++
		}
		file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
