package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// BenchmarkColdCat reads a blob that is nowhere here yet with cat. In the end
// it is downloaded, verified and in the cache. crane blob checks the digest as
// well, and writes a file; rclone writes its cache and checks nothing.
func BenchmarkColdCat(b *testing.B) {
	blob := fixture.Repeated(1, full[int64](1<<30, 64<<20))
	for _, open := range []func(testing.TB) *server{newDistribution, newLocalACR} {
		s := open(b)
		b.Run(s.name, func(b *testing.B) {
			s.seed().artifact(b, "bench", "v1", largeBlob(blob))
			sides := []side{coldAcrfs(b, s, blob), largerThanTheCache(b, s, blob)}
			for _, against := range []struct {
				key, program string
				side         func(*testing.B, *server, fixture.Blob) side
			}{{"cold-crane", "crane", coldCrane}, {"cold-rclone", "rclone", coldRclone("cat")}, {"cold-rclone-sum", "rclone", coldRclone("sha256sum")}} {
				if peer(against.program) == "" {
					absent(b, against.key, s.name, "no "+against.program)
					continue
				}
				theirs := against.side(b, s, blob)
				theirs.name = against.key
				sides = append(sides, theirs)
			}
			took := duel(b, full(2, 1), sides...)
			for i, theirs := range sides[2:] {
				report(b, theirs.name, s.name, ratio(took[0], took[i+2]),
					"%s against %s for %d MiB", seconds(took[0]), seconds(took[i+2]), blob.Size>>20)
				if theirs.name == "cold-crane" {
					report(b, "larger-crane", s.name, ratio(took[1], took[i+2]),
						"%s against %s for %d MiB", seconds(took[1]), seconds(took[i+2]), blob.Size>>20)
				}
			}
		})
	}
}

// BenchmarkColdCatOnASlowLine is the same where each request waits 30 ms and
// each connection carries 25 MiB/s, as in a registry far away.
func BenchmarkColdCatOnASlowLine(b *testing.B) {
	if peer("crane") == "" {
		absent(b, "slow-crane", "", "no crane")
		b.Skip("no crane")
	}
	blob := fixture.Repeated(2, full[int64](512<<20, 64<<20))
	root := seedLocalACR(b, func(s seeder) { s.artifact(b, "bench", "v1", largeBlob(blob)) })
	s := startLocalACR(b, localacr.Config{Root: root, Latency: 30 * time.Millisecond, Bandwidth: 25 << 20})
	took := duel(b, full(2, 1), coldAcrfs(b, s, blob), largerThanTheCache(b, s, blob), coldCrane(b, s, blob))
	for i, key := range []string{"slow-crane", "larger-slow-crane"} {
		report(b, key, "", ratio(took[i], took[2]), "%s against %s for %d MiB", seconds(took[i]), seconds(took[2]), blob.Size>>20)
	}
}

// coldAcrfs is a fresh mount with an empty cache, and cat.
func coldAcrfs(b *testing.B, s *server, blob fixture.Blob) side {
	return side{"acrfs", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "warn", "--cache-size", "8GiB")
		path := m.path("bench/_tags/v1/large.bin")
		return func() error { return execute("", "cat", path) }, func() {
			cachedFile(b, m.cache, blob)
			m.unmount()
			os.RemoveAll(m.cache)
		}
	}}
}

// largerThanTheCache is the same with a blob that the cache cannot hold, as most
// of a large model's layers are on a small disk.
func largerThanTheCache(b *testing.B, s *server, blob fixture.Blob) side {
	return side{"acrfs, larger than the cache", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "error", "--cache-size", fmt.Sprint(blob.Size/4))
		path := m.path("bench/_tags/v1/large.bin")
		return func() error { return execute("", "cat", path) }, m.unmount
	}}
}

func coldCrane(b *testing.B, s *server, blob fixture.Blob) side {
	return side{"crane", func() (func() error, func()) {
		file := filepath.Join(openDir(b), "blob")
		reference := s.host() + "/bench@" + blob.Digest.String()
		return func() error { return execute(file, peer("crane"), "blob", reference) }, func() {
			if info, err := os.Stat(file); err != nil || info.Size() != blob.Size {
				b.Fatalf("crane did not download the blob: %v", err)
			}
			os.Remove(file)
		}
	}}
}

// coldRclone is a fresh mount of rclone's with an empty cache, read by program.
func coldRclone(program string) func(*testing.B, *server, fixture.Blob) side {
	return func(b *testing.B, s *server, blob fixture.Blob) side {
		return side{"rclone", func() (func() error, func()) {
			path, done := mountRclone(b, s, blob)
			return func() error { return execute("", program, path) }, done
		}}
	}
}

// BenchmarkImages copies images of many small layers with cp, from a registry
// that lets every request wait 30 ms.
func BenchmarkImages(b *testing.B) {
	if peer("crane") == "" {
		absent(b, "images-crane", "", "no crane")
		b.Skip("no crane")
	}
	images, layers := full(16, 4), full(30, 10)
	name := func(i int) string { return fmt.Sprintf("images/i%02d", i) }
	root := seedLocalACR(b, func(s seeder) {
		for i := range images {
			s.artifact(b, name(i), "v1", manyLayers(i, layers))
		}
	})
	s := startLocalACR(b, localacr.Config{Root: root, Latency: 30 * time.Millisecond})
	acrfs := side{"acrfs", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "warn")
		to := openDir(b)
		return func() error {
				return execute("", "sh", "-c", `cd "$1" && exec cp -r --parents images/*/_tags "$2"`, "sh", m.dir, to)
			}, func() {
				m.unmount()
				if got := len(filesBelow(b, to)); got != images*(layers+2) {
					b.Fatalf("cp copied %d files, want %d", got, images*(layers+2))
				}
				os.RemoveAll(to)
			}
	}}
	crane := side{"crane", func() (func() error, func()) {
		to := openDir(b)
		return func() error {
			for i := range images {
				if err := execute("", peer("crane"), "pull", s.host()+"/"+name(i)+":v1", filepath.Join(to, fmt.Sprint(i))); err != nil {
					return err
				}
			}
			return nil
		}, func() { os.RemoveAll(to) }
	}}
	took := duel(b, 1, acrfs, crane) // nearly all of it is waiting, which does not vary
	report(b, "images-crane", "", ratio(took[0], took[1]), "%s against %s for %d images of %d layers", seconds(took[0]), seconds(took[1]), images, layers)
}

// manyLayers is an image with layers of 64 KiB that no other has.
func manyLayers(image, layers int) *fixture.Manifest {
	spec := fixture.Spec{
		Config: fixture.Part{MediaType: ocispec.MediaTypeImageConfig, Blob: fixture.Text(fmt.Sprintf(`{"architecture":"amd64","os":"linux","author":"%d","rootfs":{"type":"layers","diff_ids":[]}}`, image))},
	}
	for i := range layers {
		spec.Layers = append(spec.Layers, fixture.Part{MediaType: ocispec.MediaTypeImageLayerGzip, Blob: fixture.Noise(uint64(image*1000+i), 64<<10)})
	}
	return fixture.Build(spec)
}
