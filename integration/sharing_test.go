package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestManyReadersCauseOneDownload has many programs read one blob under
// several names at once.
func TestManyReadersCauseOneDownload(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		large := fixture.Large(11, 40<<20)
		blob := large.Blobs[1]
		push(t, s, "app", "v1", large)
		push(t, s, "app", "v2", large)
		push(t, s, "other", "v1", large)
		m := mountServer(t, s)
		s.gate.forget()
		var readers sync.WaitGroup
		for range 4 {
			for _, dir := range []string{"app/_tags/v1", "app/_tags/v2", "other/_tags/v1"} {
				readers.Go(func() {
					if err := sameContent(m.path(dir, "large.bin"), blobEntry(blob)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		readers.Wait()
		if got := s.gate.bytesOf(blob.Digest); got > blob.Size+blob.Size/20 {
			t.Errorf("%d bytes were sent for 12 readers of %d", got, blob.Size)
		}
	})
}

// TestMountsShareACache mounts two registries on one cache directory.
func TestMountsShareACache(t *testing.T) {
	large := fixture.Large(12, 20<<20)
	blob := large.Blobs[1]
	acr, plain := newLocalACR(t), newDistribution(t)
	push(t, acr, "app", "v1", large)
	push(t, plain, "team/app", "v1", large)
	first := mountServer(t, acr)
	second := mountWith(t, plain, mountOptions{cache: first.cache})
	if err := sameContent(first.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
		t.Error(err)
	}
	cachedFile(t, first.cache, blob) // it is synced first, after it was read
	plain.gate.forget()
	if err := sameContent(second.path("team/app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
		t.Error(err)
	}
	if got := plain.gate.bytesOf(blob.Digest); got > 0 {
		t.Errorf("%d bytes of a blob that the other mount had cached were downloaded", got)
	}
	// Both at once, on a blob that neither has.
	other := fixture.Large(13, 20<<20)
	push(t, acr, "app", "v2", other)
	push(t, plain, "team/app", "v2", other)
	var readers sync.WaitGroup
	for _, path := range []string{first.path("app/_tags/v2/large.bin"), second.path("team/app/_tags/v2/large.bin")} {
		readers.Go(func() {
			if err := sameContent(path, blobEntry(other.Blobs[1])); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	second.unmount()
	if err := sameContent(first.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
		t.Errorf("after the other mount has ended: %v", err)
	}
}

// TestCacheLimitIsKept reads more than the cache may hold and looks at the
// disk after every file, and at a blob larger than all of it.
func TestCacheLimitIsKept(t *testing.T) {
	s := newLocalACR(t)
	const limit, size = 32 << 20, 9 << 20
	var blobs []fixture.Blob
	spec := fixture.Spec{Config: fixture.Part{MediaType: "application/json", Blob: fixture.Text("{}")}}
	for i := range 8 {
		blobs = append(blobs, fixture.Noise(uint64(20+i), size))
		spec.Layers = append(spec.Layers, fixture.Titled(string(rune('a'+i)), blobs[i]))
	}
	huge := fixture.Noise(30, limit+limit/2)
	spec.Layers = append(spec.Layers, fixture.Titled("huge", huge))
	push(t, s, "app", "v1", fixture.Build(spec))
	m := mountServer(t, s, "--cache-size", "32MiB")
	for i, blob := range blobs {
		if err := sameContent(m.path("app/_tags/v1", string(rune('a'+i))), blobEntry(blob)); err != nil {
			t.Error(err)
		}
		// A range that is being written may come on top.
		if used := diskUse(t, m.cache); used > limit+4<<20 {
			t.Errorf("after %d blobs the cache takes %d bytes, want at most %d", i+1, used, limit)
		}
	}
	if err := sameContent(m.path("app/_tags/v1/huge"), blobEntry(huge)); err != nil {
		t.Errorf("a blob larger than the cache: %v", err)
	}
	if used := diskUse(t, m.cache); used > limit+4<<20 {
		t.Errorf("after a blob larger than the cache it takes %d bytes, want at most %d", used, limit)
	}
}

// diskUse is the bytes allocated below dir.
func diskUse(t testing.TB, dir string) int64 {
	t.Helper()
	var used int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		used += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
