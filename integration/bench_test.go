package integration

import (
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// The benchmarks print ratios, so that they mean the same on every machine:
// what the mount takes against what the bare thing takes in the same run.
//
//	xbare    the mount's time divided by that of the cached file, read directly
//	xcrane   the mount's time divided by go-containerregistry's download of the
//	         same blob, digest checked, into a file
//
// Below 1 is faster than what it is compared with. Run them with
// go test -run '^$' -bench . -benchtime 3x

const benchSize = 256 << 20

// benchMount is a mount of a fresh server that holds one large blob.
type benchMount struct {
	*mount
	blob fixture.Blob
	path string
}

func newBenchMount(b *testing.B) benchMount {
	b.Helper()
	// Not generated noise: every push of the benchmark would wait for it.
	content := make([]byte, benchSize)
	rand.Read(content)
	blob := fixture.Bytes(content)
	s := newLocalACR(b)
	push(b, s, "bench", "v1", fixture.Build(fixture.Spec{
		Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: fixture.Text("{}")},
		Layers: []fixture.Part{fixture.Titled("large.bin", blob)},
	}))
	m := mountServer(b, s, "--log-level", "warn")
	return benchMount{mount: m, blob: blob, path: m.path("bench/_tags/v1/large.bin")}
}

// fresh mounts the same server with an empty cache.
func (m benchMount) fresh(b *testing.B) benchMount {
	b.Helper()
	again := mountServer(b, m.server, "--log-level", "warn")
	return benchMount{mount: again, blob: m.blob, path: again.path("bench/_tags/v1/large.bin")}
}

// warm reads the blob once, so that it is in the cache, and returns the file
// that keeps it there.
func (m benchMount) warm(b *testing.B) (cached string) {
	b.Helper()
	if _, err := readThrough(m.path); err != nil {
		b.Fatal(err)
	}
	return cachedFile(b, m.cache, m.blob)
}

func BenchmarkColdSequentialRead(b *testing.B) {
	b.SetBytes(benchSize)
	againstCrane(b, readAll)
}

// BenchmarkTimeToFirstByte opens a blob that is nowhere here yet and reads its
// first 4 KiB, against the whole download that a pull would wait for.
func BenchmarkTimeToFirstByte(b *testing.B) {
	ours := againstCrane(b, firstPage)
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/open")
}

// againstCrane has read read the blob with an empty cache, and reports how its
// time compares with a download.
func againstCrane(b *testing.B, read func(path string) error) (ours time.Duration) {
	m := newBenchMount(b)
	var theirs time.Duration
	for b.Loop() {
		b.StopTimer()
		fresh := m.fresh(b)
		theirs += timed(b, func() error { return craneDownload(b, m) })
		b.StartTimer()
		ours += timed(b, func() error { return read(fresh.path) })
		b.StopTimer()
		fresh.unmount()
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "xcrane")
	return ours
}

// craneDownload is what people do without a mount: download into a file, with
// the digest checked on the way.
func craneDownload(b *testing.B, m benchMount) error {
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	ref, err := ggcrReference(m.server, "bench", "v1", &fixture.Manifest{})
	if err != nil {
		return err
	}
	layer, err := remote.Layer(ref.Context().Digest(m.blob.Digest.String()), remote.WithContext(ctx))
	if err != nil {
		return err
	}
	body, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer body.Close()
	file, err := os.Create(filepath.Join(b.TempDir(), "downloaded"))
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(file, body)
	return err
}

func BenchmarkWarmSequentialRead(b *testing.B) {
	m := newBenchMount(b)
	cached := m.warm(b)
	b.SetBytes(benchSize)
	var ours, bare time.Duration
	for b.Loop() {
		b.StopTimer()
		dropCopies(b, m.path)
		readAll(cached) // both begin with the cached file in memory
		bare += timed(b, func() error { return readAll(cached) })
		b.StartTimer()
		ours += timed(b, func() error { return readAll(m.path) })
	}
	b.ReportMetric(ours.Seconds()/bare.Seconds(), "xbare")
}

func BenchmarkWarmRandom4KiB(b *testing.B) {
	m := newBenchMount(b)
	cached := m.warm(b)
	const reads = 20_000
	var ours, bare time.Duration
	for b.Loop() {
		dropCopies(b, m.path)
		readAll(cached) // both begin with the cached file in memory
		bare += timed(b, func() error { return randomReads(cached, reads) })
		ours += timed(b, func() error { return randomReads(m.path, reads) })
	}
	b.ReportMetric(ours.Seconds()/bare.Seconds(), "xbare")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*reads), "ns/read")
}

// BenchmarkTenThousandTags lists a large repository with the tools people use,
// against the listing alone as go-containerregistry gets it.
func BenchmarkTenThousandTags(b *testing.B) {
	const tags = 10_000
	s := newLocalACR(b)
	pushTags(b, s, "many", tags, fixture.Chart("1"))
	for _, tool := range []struct {
		name string
		args []string
	}{
		{"ls", []string{"ls", "-l"}},
		{"find", []string{"find"}},
	} {
		b.Run(tool.name, func(b *testing.B) {
			var cold, warm, theirs time.Duration
			for b.Loop() {
				b.StopTimer()
				m := mountServer(b, s, "--log-level", "warn")
				dir := m.path("many/_tags")
				args := append(tool.args[1:], dir)
				if tool.name == "find" {
					args = append(args, "-maxdepth", "1")
				}
				list := func() error { return exec.Command(tool.args[0], args...).Run() }
				theirs += timed(b, func() error { return craneList(s) })
				b.StartTimer()
				cold += timed(b, list)
				warm += timed(b, list)
				b.StopTimer()
				m.unmount()
				b.StartTimer()
			}
			b.ReportMetric(cold.Seconds()/theirs.Seconds(), "xcrane-cold")
			b.ReportMetric(warm.Seconds()/theirs.Seconds(), "xcrane-warm")
			b.ReportMetric(float64(warm.Milliseconds())/float64(b.N), "ms-warm")
		})
	}
}

func craneList(s *server) error {
	ref, err := ggcrReference(s, "many", tagName(0), &fixture.Manifest{})
	if err != nil {
		return err
	}
	_, err = remote.List(ref.Context(), remote.WithPageSize(1000))
	return err
}

// timed runs f and returns how long it took.
func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	began := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func readAll(path string) error {
	_, err := readThrough(path)
	return err
}

func firstPage(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.ReadFull(file, make([]byte, 4096))
	return err
}

// randomReads reads pages all over a file, the same ones each time.
func randomReads(path string, n int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	random := mathrand.New(mathrand.NewPCG(1, 2))
	page := make([]byte, 4096)
	for range n {
		if _, err := file.ReadAt(page, random.Int64N(benchSize/4096)*4096); err != nil {
			return err
		}
	}
	return nil
}

// dropCopies has the kernel forget the pages that it keeps of a file, so that
// reading it asks the file system.
func dropCopies(b *testing.B, path string) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}
