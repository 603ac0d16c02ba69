package cache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

// pattern is a Source as fast as memory: what is measured is the cache alone.
type pattern struct {
	page  []byte
	size  int64
	rate  int64         // bytes per second of one range; 0: no limit
	delay time.Duration // before the first byte
}

func (s *pattern) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	return &patternBody{s: s, ctx: ctx, at: off, end: off + n, began: time.Now(), from: off}, nil
}

type patternBody struct {
	s             *pattern
	ctx           context.Context
	at, end, from int64
	began         time.Time
}

func (b *patternBody) Close() error { return nil }

func (b *patternBody) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.at == b.end {
		return 0, io.EOF
	}
	if b.s.rate > 0 {
		p = p[:min(len(p), 64<<10)]
		due := time.Duration(float64(b.at-b.from+int64(len(p))) / float64(b.s.rate) * float64(time.Second))
		if wait := due - time.Since(b.began); wait > 0 {
			time.Sleep(wait)
		}
	}
	start := b.at % int64(len(b.s.page))
	n := copy(p[:min(int64(len(p)), b.end-b.at)], b.s.page[start:])
	b.at += int64(n)
	return n, nil
}

func (s *pattern) digest() digest.Digest {
	h := sha256.New()
	body, _ := s.OpenRange(context.Background(), 0, s.size)
	io.CopyBuffer(struct{ io.Writer }{h}, body, make([]byte, 1<<20))
	return digest.NewDigest(digest.SHA256, h)
}

// floor is what a cold read cannot beat with one hash: the bytes hashed while
// another goroutine writes them to a file.
func floor(b *testing.B, s *pattern) time.Duration {
	file, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	began := time.Now()
	body, _ := s.OpenRange(context.Background(), 0, s.size)
	full, free := make(chan []byte, 4), make(chan []byte, 4)
	for range 4 {
		free <- make([]byte, 1<<20)
	}
	go func() {
		defer close(full)
		for {
			p := (<-free)[:1<<20]
			n, err := io.ReadFull(body, p)
			file.Write(p[:n])
			full <- p[:n]
			if err != nil || n == 0 {
				return
			}
		}
	}()
	h := sha256.New()
	for p := range full {
		h.Write(p)
		free <- p
	}
	h.Sum(nil)
	return time.Since(began)
}

func sequential(b testing.TB, blob *Blob, size int64) {
	p := make([]byte, 128<<10)
	for off := int64(0); off < size; {
		n, err := blob.ReadAt(context.Background(), p, off)
		if err != nil && err != io.EOF {
			b.Fatal(err)
		}
		off += int64(n)
	}
}

// sized is a size that -short makes eight times smaller.
func sized(n int64) int64 {
	if testing.Short() {
		return n / 8
	}
	return n
}

// BenchmarkColdSequential reads a blob that is not there from one end to the
// other: the pipeline of ranges, hash and file. x-of-hash+write is its speed as
// a part of what hashing and writing alone have.
func BenchmarkColdSequential(b *testing.B) {
	for _, test := range []struct {
		name  string
		size  int64
		rate  int64
		delay time.Duration
	}{{"memory", sized(512 << 20), 0, 0}, {"30ms-25MiBs", sized(512 << 20), 25 << 20, 30 * time.Millisecond}, {"30ms", sized(512 << 20), 0, 30 * time.Millisecond}} {
		b.Run(test.name, func(b *testing.B) {
			s := &pattern{page: bytesOf(1, 8<<20+4096), size: test.size}
			d := s.digest()
			best := floor(b, s)
			s.rate, s.delay = test.rate, test.delay
			b.SetBytes(test.size)
			b.ReportAllocs()
			var spent time.Duration
			for b.Loop() {
				c, err := Open(Config{Dir: filepath.Join(b.TempDir(), "c"), Size: 8 << 30})
				if err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				blob := c.Blob(d, test.size, s)
				sequential(b, blob, test.size)
				spent += time.Since(began)
				if !blob.Stored() {
					b.Fatal("not stored")
				}
				b.StopTimer()
				b.ReportMetric(float64(c.Stats().Ranges), "ranges")
				blob.Close()
				c.Close()
				os.RemoveAll(c.disk.dir)
				b.StartTimer()
			}
			each := spent / time.Duration(b.N)
			b.ReportMetric(best.Seconds()/each.Seconds(), "x-of-hash+write")
			if test.rate > 0 {
				one := time.Duration(float64(test.size) / float64(test.rate) * float64(time.Second))
				b.ReportMetric(one.Seconds()/each.Seconds(), "x-one-connection")
			}
		})
	}
}

// BenchmarkWarm reads a stored blob; the ratio is to reading its file.
func BenchmarkWarm(b *testing.B) {
	size := int(sized(256 << 20))
	s := &pattern{page: bytesOf(1, 8<<20+4096), size: int64(size)}
	c := open(b, Config{})
	blob := c.Blob(s.digest(), s.size, s)
	defer blob.Close()
	fetch(b, blob)
	file, _ := blob.File()
	for _, n := range []int{4 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			p := make([]byte, n)
			ctx := context.Background()
			bare := func() time.Duration {
				began := time.Now()
				for i := range 20000 {
					file.ReadAt(p, int64(i*7919%(size/n))*int64(n))
				}
				return time.Since(began) / 20000
			}
			floor := bare()
			b.SetBytes(int64(n))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := blob.ReadAt(ctx, p, int64(i*7919%(size/n))*int64(n)); err != nil {
					b.Fatal(err)
				}
				i++
			}
			each := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(((floor+bare())/2).Seconds()/each.Seconds(), "x-of-pread")
		})
	}
}

// BenchmarkRandomCold reads pages all over a huge blob that is not there.
func BenchmarkRandomCold(b *testing.B) {
	s := &pattern{page: bytesOf(1, 8<<20+4096), size: 10 << 30}
	c := open(b, Config{Size: 20 << 30})
	blob := c.Blob(digest.FromString("never whole"), s.size, s)
	defer blob.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := blob.ReadAt(context.Background(), p, rng.Int64N(s.size-1<<20)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(c.Stats().Fetched)/float64(b.N)/1024, "KiB/read")
	b.ReportMetric(float64(c.Stats().Ranges)/float64(b.N), "ranges/read")
}

// BenchmarkOpenIndex opens a cache of 100,000 files; s-over-empty is how
// much longer that takes than opening an empty one.
func BenchmarkOpenIndex(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "c")
	c, err := Open(Config{Dir: dir, Size: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	c.Close()
	records := make([]record, 100_000)
	for i := range records {
		records[i] = record{op: '+', digest: digest.FromString(fmt.Sprint(i)), size: 1 << 20, print: fingerprint{uint64(i + 1), 1e18, 1e18}, used: int64(i)}
	}
	if _, err := writeJournal(c.disk.index(), records); err != nil {
		b.Fatal(err)
	}
	empty := filepath.Join(b.TempDir(), "empty")
	began := time.Now()
	const opens = 5
	for range opens {
		c, err := Open(Config{Dir: empty, Size: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	floor := time.Since(began) / opens
	b.ReportAllocs()
	for b.Loop() {
		c, err := Open(Config{Dir: dir, Size: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
		if got := c.Stats().Files; got != 100_000 {
			b.Fatalf("%d files", got)
		}
		c.Close()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)-floor.Seconds(), "s-over-empty")
}

// BenchmarkLRU uses one of 100,000 files after another. The ratio is to the bare
// list that it stands on, which counts entries and no bytes.
func BenchmarkLRU(b *testing.B) {
	l := newLRU()
	bare, err := simplelru.NewLRU[string, *item](1<<30, nil)
	if err != nil {
		b.Fatal(err)
	}
	items := make([]*item, 100_000)
	for i := range items {
		items[i] = &item{key: fmt.Sprint(i), size: 1}
		l.add(items[i])
		bare.Add(items[i].key, items[i])
	}
	const turns = 200_000
	began := time.Now()
	for i := range turns {
		it := items[i*7919%len(items)]
		bare.Add(it.key, it)
	}
	floor := time.Since(began) / turns
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.add(items[i*7919%len(items)])
		i++
	}
	b.ReportMetric(floor.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "x-of-bare-list")
}

// BenchmarkChunks fills the map of a blob of 10 GiB as four streams do, looking
// for the next gap before each step. The ratio is to setting as many bools.
func BenchmarkChunks(b *testing.B) {
	size := int64(10 << 30)
	n := newChunks(size).n
	const streams, step = 4, 4
	walk := func(visit func(lo, hi int)) {
		each := n / streams
		for i := 0; i < each; i += step {
			for s := range streams {
				visit(s*each+i, s*each+i+step)
			}
		}
	}
	began := time.Now()
	bare := make([]bool, n)
	walk(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			bare[i] = true
		}
	})
	floor := time.Since(began)
	b.ReportAllocs()
	for b.Loop() {
		set := newChunks(size)
		walk(func(lo, hi int) {
			if set.gap(lo) != lo || set.add(lo, hi) != step || !set.all(lo, hi) {
				b.Fatal("wrong map")
			}
		})
		if !set.full() {
			b.Fatal("not full")
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(n/step)*1e9, "ns/step")
	b.ReportMetric(floor.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "x-of-bools")
}
