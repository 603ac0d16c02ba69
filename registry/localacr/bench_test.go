package localacr_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// BenchmarkRead compares reading a blob with net/http serving the bare file,
// which is what no registry can beat.
func BenchmarkRead(b *testing.B) {
	const size = 64 << 20
	r := start(b, localacr.Config{DirectBlobs: true})
	d := r.pushBlob("a", make([]byte, size))
	token := r.token("repository:a:*")
	path := filepath.Join(r.root(), "blobs", "sha256", d[7:9], d[7:])
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { http.ServeFile(w, req, path) }))
	defer bare.Close()
	read := func(url string) time.Duration {
		begin := time.Now()
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := r.http.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
			b.Fatal(n, err)
		}
		return time.Since(begin)
	}
	var ours, theirs time.Duration
	b.SetBytes(size)
	for b.Loop() {
		ours += read(r.url + "/v2/a/blobs/" + d)
		theirs += read(bare.URL)
	}
	b.ReportMetric(float64(ours)/float64(theirs), "x-bare-file")
}

// BenchmarkPush measures small pushes, alone and together.
func BenchmarkPush(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			r := start(b, localacr.Config{})
			r.token("repository:a:*")
			next := make(chan int)
			var wg sync.WaitGroup
			for range parallel {
				wg.Go(func() {
					for i := range next {
						if !r.tryPush("a", fmt.Sprintf("t%d", i), fmt.Sprintf("layer %d", i)) {
							b.Error("a push failed")
						}
					}
				})
			}
			i := 0
			for b.Loop() {
				next <- i
				i++
			}
			close(next)
			wg.Wait()
		})
	}
}

// BenchmarkList measures a page of 1000 out of 100,000 tags and as many
// manifests (10,000 with -short), wherever it lies, as a ratio to the first page.
func BenchmarkList(b *testing.B) {
	r := start(b, localacr.Config{})
	total := 100_000
	if testing.Short() {
		total = 10_000
	}
	r.crowd("big", total)
	for _, row := range []struct{ list, order string }{{"_tags", ""}, {"_tags", "timedesc"}, {"_manifests", ""}, {"_manifests", "timedesc"}} {
		first := fmt.Sprintf("/acr/v1/big/%s?n=1000&orderby=%s", row.list, row.order)
		far := first + "&last=" + r.middle("big", row.list, total)
		b.Run(strings.TrimSuffix(row.list+"/"+row.order, "/"), func(b *testing.B) {
			r.auth("GET", "big", first, "").want(200)
			r.auth("GET", "big", far, "").want(200)
			var near, away time.Duration
			for b.Loop() {
				begin := time.Now()
				r.auth("GET", "big", first, "").want(200)
				near += time.Since(begin)
				begin = time.Now()
				r.auth("GET", "big", far, "").want(200)
				away += time.Since(begin)
			}
			b.ReportMetric(float64(away.Microseconds())/1000/float64(b.N), "ms/far-page")
			b.ReportMetric(float64(away)/float64(near), "x-first-page")
		})
	}
	if info, err := os.Stat(filepath.Join(r.root(), "registry.db")); err == nil {
		b.Logf("database of %d tags and manifests: %d MiB", total, info.Size()>>20)
	}
}

// crowd pushes n manifests, each with a tag.
func (r *rig) crowd(repo string, n int) {
	r.Helper()
	manifest := r.image(repo, typeManifest, "x")
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range next {
				tag := fmt.Sprintf("t%06d", i)
				if got := r.auth("PUT", repo, "/v2/"+repo+"/manifests/"+tag, strings.Replace(manifest, "{", fmt.Sprintf(`{"number":%d,`, i), 1), "Content-Type: "+typeManifest); got.status != 201 {
					r.Errorf("push: %d %s", got.status, got.body)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// middle is an item in the middle of a list of n.
func (r *rig) middle(repo, list string, n int) string {
	if list == "_tags" {
		return fmt.Sprintf("t%06d", n/2)
	}
	return names(r, r.auth("GET", repo, "/acr/v1/"+repo+"/_manifests?n=1&last=sha256:8", "").want(200).body)[0]
}

// BenchmarkStart opens a registry of a million blobs and an empty one.
//
//	x-empty  the one divided by the other
func BenchmarkStart(b *testing.B) {
	blobs := 1_000_000
	if testing.Short() {
		blobs = 10_000
	}
	roots := [2]string{freshRoot(b), freshRoot(b)}
	s, err := localacr.Open(localacr.Config{Root: roots[0]})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Crowd("big", blobs); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var took [2]time.Duration
	for b.Loop() {
		for i, root := range roots {
			begin := time.Now()
			s, err := localacr.Open(localacr.Config{Root: root})
			if err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(begin)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(took[0].Microseconds())/1000/float64(b.N), "ms/start")
	b.ReportMetric(float64(took[0])/float64(took[1]), "x-empty")
}
