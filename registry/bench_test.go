package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// BenchmarkDecodePage reads a page of 1,000 manifests. allocs/op divided by 1,000
// is what each costs; x-json is its time divided by that of encoding/json
// reading the same page into maps, which is what a client without types does.
func BenchmarkDecodePage(b *testing.B) {
	var page bytes.Buffer
	page.WriteString(`{"registry":"contoso.azurecr.io","imageName":"team/app","manifests":[`)
	for i := range 1000 {
		if i > 0 {
			page.WriteByte(',')
		}
		fmt.Fprintf(&page, `{"digest":%q,"imageSize":3372628,"createdTime":"2024-01-24T06:16:01.534509Z","lastUpdateTime":"2024-08-08T00:59:58.7112076Z","architecture":"amd64","os":"linux","mediaType":%q,"configMediaType":"application/vnd.docker.container.image.v1+json","tags":["v%d"],"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true,"quarantineState":"Passed"}}`,
			digest.FromString(fmt.Sprint(i)), dockerManifest, i)
	}
	page.WriteString(`]}`)
	const rounds = 20
	began := time.Now()
	for range rounds {
		var anything map[string]any
		if err := json.Unmarshal(page.Bytes(), &anything); err != nil {
			b.Fatal(err)
		}
	}
	bare := time.Since(began) / rounds
	b.SetBytes(int64(page.Len()))
	b.ReportAllocs()
	for b.Loop() {
		manifests, skip, err := decodeACRManifests(page.Bytes())
		if err != nil || len(manifests) != 1000 || skip.count != 0 {
			b.Fatal(len(manifests), skip, err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/bare.Seconds(), "x-json")
}

// BenchmarkOpenBlob compares a blob of 64 MiB through the client with the same
// bytes through a bare GET: x-bare-GET is the ratio of the times.
func BenchmarkOpenBlob(b *testing.B) {
	content := make([]byte, 64<<20)
	d := digest.FromBytes(content)
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/r/blobs/"+d.String(), serve(content))
	server := httptest.NewServer(mux)
	defer server.Close()
	f := server.URL
	c, err := New(Config{Endpoint: f})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buffer := make([]byte, 128<<10)
	drain := func(r io.ReadCloser, err error) {
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		n := 0
		for {
			m, err := r.Read(buffer)
			n += m
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if n != len(content) {
			b.Fatal(n)
		}
	}
	bare := func() {
		resp, err := http.Get(f + "/v2/r/blobs/" + d.String())
		if err != nil {
			b.Fatal(err)
		}
		drain(resp.Body, nil)
	}
	ours := func() { drain(c.OpenBlob(b.Context(), "r", d, 0, -1)) }
	bare()
	ours()
	b.SetBytes(int64(len(content)))
	var bareTime, ourTime time.Duration
	for b.Loop() {
		start := time.Now()
		bare()
		middle := time.Now()
		ours()
		bareTime += middle.Sub(start)
		ourTime += time.Since(middle)
	}
	b.ReportMetric(ourTime.Seconds()/bareTime.Seconds(), "x-bare-GET")
}
