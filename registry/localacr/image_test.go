package localacr_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// BuildKit keeps its cache as an index of layers and a config, which are blobs
// and no manifests. It can be pushed, counts with what it needs, and keeps that
// from being collected as long as it is there.
func TestIndexOfBlobs(t *testing.T) {
	r := start(t, localacr.Config{CollectAfter: time.Nanosecond})
	const layer, config = "a layer of the cache", "{}"
	image := r.pushImage("a", "image", "an image's layer")
	blob := func(mediaType, content string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, r.pushBlob("a", []byte(content)), len(content))
	}
	cache := index(typeIndex,
		blob("application/vnd.oci.image.layer.v1.tar+gzip", layer),
		blob("application/vnd.buildkit.cacheconfig.v0", config),
		child(typeManifest, image, 1, "amd64"))
	d := r.pushManifest("a", "cache", typeIndex, cache)
	r.do("GET", "/v2/a/manifests/cache", "", "Accept: "+typeIndex).says(200, cache)
	r.do("GET", "/v2/a/manifests/"+localacr.DigestOf("", []byte(layer)), "", "Accept: "+acceptAll).want(404)
	size := func(digest string) (n int) {
		t.Helper()
		body := r.do("GET", "/acr/v1/a/_manifests/"+digest, "").want(200).body
		_, rest, _ := strings.Cut(body, `"imageSize":`)
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		return n
	}
	if got, want := size(d), size(image)+len(layer)+len(config)+len(cache); got != want {
		t.Errorf("imageSize %d, want %d", got, want)
	}
	if got, err := r.Collect(t.Context()); err != nil || got.Links != 0 {
		t.Errorf("collected %+v, %v from a cache that is there", got, err)
	}
	r.fetch("a", localacr.DigestOf("", []byte(layer))).says(200, layer)
	r.checked()

	r.do("DELETE", "/v2/a/manifests/"+d, "").want(202)
	if got, err := r.Collect(t.Context()); err != nil || got.Links != 2 {
		t.Errorf("collected %+v, %v from a cache that was deleted, want 2 links", got, err)
	}
	r.do("GET", "/v2/a/manifests/image", "", "Accept: "+typeManifest).want(200)
	r.checked()

	// A child that is gone is missing, and so is one whose file is.
	r.auth("PUT", "a", "/v2/a/manifests/cache", cache, "Content-Type: "+typeIndex).want(400)
	for _, content := range []string{layer, config} {
		r.pushBlob("a", []byte(content))
	}
	damaged := localacr.DigestOf("", []byte(layer))
	if err := os.Remove(filepath.Join(r.root(), "blobs", "sha256", damaged[7:9], damaged[7:])); err != nil {
		t.Fatal(err)
	}
	r.auth("PUT", "a", "/v2/a/manifests/cache", cache, "Content-Type: "+typeIndex).
		says(400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"`+damaged+`"}]}`+"\n")
	r.checked()
}
