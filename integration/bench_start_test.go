package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/cache"
)

// BenchmarkStart mounts with a cache that is full of files and with an empty
// one, and measures until the root of the mount answers.
func BenchmarkStart(b *testing.B) {
	files := full(100_000, 10_000)
	s := newLocalACR(b)
	stuffed := filepath.Join(openDir(b), "cache")
	stuffCache(b, stuffed, files)
	starting := func(name string, dir func() string) side {
		return side{name, func() (func() error, func()) {
			var m *mount
			o := mountOptions{cache: dir(), flags: []string{"--log-level", "warn"}}
			return func() error {
				m = mountWith(b, s, o)
				_, err := os.ReadDir(m.dir)
				return err
			}, func() { m.unmount() }
		}}
	}
	took := duel(b, 5,
		starting("full", func() string { return stuffed }),
		starting("empty", func() string { return filepath.Join(openDir(b), "cache") }))
	report(b, "start", "", (took[0] - took[1]).Seconds(), "%d files, %s against %s", files, seconds(took[0]), seconds(took[1]))
}

// stuffCache puts small files into a cache, by the package itself.
func stuffCache(b *testing.B, dir string, files int) {
	b.Helper()
	c, err := cache.Open(cache.Config{Dir: dir, Size: 8 << 30})
	if err != nil {
		b.Fatal(err)
	}
	each(b, files, func(i int) error {
		content := fmt.Appendf(nil, "file %d", i)
		return c.Put(digest.FromBytes(content), content)
	})
	if got := c.Stats().Files; got != int64(files) {
		b.Fatalf("the cache has %d files, want %d", got, files)
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}
