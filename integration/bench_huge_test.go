package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// hugeBlob is 10 GiB, whose digest takes a minute on small machines and is
// written down for that, or with -short a small one.
func hugeBlob() fixture.Blob {
	const seed = 3
	if testing.Short() {
		return fixture.Repeated(seed, 256<<20)
	}
	return fixture.KnownRepeated(seed, 10<<30, "sha256:8bd75c20432716a478e12442646d1c47b0e87a2800c7a84c2772f50386ef7762")
}

// BenchmarkHuge is about a blob of 10 GiB.
func BenchmarkHuge(b *testing.B) {
	blob := hugeBlob()
	// The registry's, the cache's, and some air.
	haveDisk(b, 5*blob.Size/2, "middle-exchanges", "middle-bytes", "memory-stream")
	s := newLocalACR(b)
	s.seed().artifact(b, "bench", "v1", largeBlob(blob))
	b.Run("Middle", func(b *testing.B) { hugeMiddle(b, s, blob) })
	b.Run("Stream", func(b *testing.B) { hugeStream(b, s, blob) })
}

// hugeMiddle opens the blob, of which nothing is here, and reads 4 KiB from its
// middle. Whoever does has looked at the directory before: that is not counted.
// The bytes are those that the registry has sent when the reader has its own.
// curl, which is given a token and the exact range, is as fast as it can be.
func hugeMiddle(b *testing.B, s *server, blob fixture.Blob) {
	middle := blob.Size/2 + 4096
	var exchanges, bytes int64
	acrfs := side{"acrfs", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "warn")
		if err := execute("", "ls", "-l", m.path("bench/_tags/v1")); err != nil {
			b.Fatal(err)
		}
		s.gate.forget()
		return func() error {
				err := readPage(m.path("bench/_tags/v1/large.bin"), middle)
				bytes = max(bytes, s.gate.bytesOf(blob.Digest))
				exchanges = max(exchanges, int64(len(s.gate.requests())))
				return err
			}, func() {
				m.unmount()
				os.RemoveAll(m.cache)
			}
	}}
	token := curlToken(b, s, "repository:bench:pull")
	curl := side{"curl", func() (func() error, func()) {
		return func() error {
			return execute("", "curl", "--silent", "--show-error", "--fail", "--location", "--range", fmt.Sprintf("%d-%d", middle, middle+4095),
				"--header", "Authorization: Bearer "+token, "--output", "/dev/null", blobURL(s, blob.Digest))
		}, func() {}
	}}
	took := duel(b, 5, acrfs, curl)
	raw := fmt.Sprintf("%.2g ms against %.2g ms", milliseconds(took[0]), milliseconds(took[1]))
	report(b, "middle-exchanges", "", float64(exchanges), "%s", raw)
	report(b, "middle-bytes", "", float64(bytes)/1024, "at most, of 5 tries")
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func readPage(path string, off int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.ReadAt(make([]byte, 4096), off)
	return err
}

// hugeStream reads the whole blob, and looks at the daemon's memory.
func hugeStream(b *testing.B, s *server, blob fixture.Blob) {
	for b.Loop() {
		m := mountServer(b, s, "--log-level", "warn", "--cache-size", "16GiB")
		began := time.Now()
		if err := execute("", "cat", m.path("bench/_tags/v1/large.bin")); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		report(b, "memory-stream", "", m.peakMiB(), "%d MiB at %s", blob.Size>>20, speed(blob.Size, took))
		m.unmount()
		os.RemoveAll(m.cache)
	}
}

// peakMiB is the most memory that the daemon has had at once.
func (m *mount) peakMiB() float64 {
	m.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Process.Pid))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				m.t.Fatal(err)
			}
			return kilobytes / 1024
		}
	}
	m.t.Fatal("the kernel does not tell a process's peak")
	return 0
}
