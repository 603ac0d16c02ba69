package integration

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// BenchmarkLocalACRRead downloads a blob from the local registry and from
// distribution's, which keeps it in files as well, with the same client.
//
//	xdistribution  ours divided by theirs: of blobs served directly, and of
//	               those that are redirected to, the redirect included
func BenchmarkLocalACRRead(b *testing.B) {
	for _, size := range []int64{4 << 10, 64 << 20} {
		for _, direct := range []bool{true, false} {
			way := map[bool]string{true: "direct", false: "redirected"}[direct]
			b.Run(fmt.Sprintf("%s/%dKiB", way, size>>10), func(b *testing.B) {
				ours := startLocalACR(b, localacr.Config{Root: b.TempDir(), DirectBlobs: direct})
				theirs := listen(b, "distribution")
				theirs.serve(openDistribution(b, nil))
				blob := fixture.Noise(1, size)
				m := fixture.Build(fixture.Spec{
					Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: fixture.Text("{}")},
					Layers: []fixture.Part{fixture.Titled("file.bin", blob)},
				})
				var took [2]time.Duration
				var tokens [2]string
				for i, s := range []*server{ours, theirs} {
					push(b, s, "bench", "v1", m)
					if s == ours {
						tokens[i] = curlToken(b, s, "repository:bench:pull")
					}
					benchGet(b, s, tokens[i], blob) // a first one, for the connections
				}
				b.SetBytes(size)
				for b.Loop() {
					for i, s := range []*server{ours, theirs} {
						took[i] += timed(b, s.name, func() error { benchGet(b, s, tokens[i], blob); return nil })
					}
				}
				b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "xdistribution")
			})
		}
	}
}

// benchGet downloads a blob into nothing, the way every HTTP client does.
func benchGet(b *testing.B, s *server, token string, blob fixture.Blob) {
	req, err := http.NewRequest("GET", s.url+"/v2/bench/blobs/"+blob.Digest.String(), nil)
	if err != nil {
		b.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != blob.Size {
		b.Fatalf("%s: %d bytes of %d: %v", resp.Status, n, blob.Size, err)
	}
}
