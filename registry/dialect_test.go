package registry

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestAzureEndToEnd(t *testing.T) {
	a := newAzure(t)
	content := bytes.Repeat([]byte("layer"), 1000)
	layer := a.blob("team/app", content)
	manifest := []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(manifest)
	a.guard("GET /acr/v1/team/app/_tags", "repository:team/app:metadata_read", reply(200,
		`{"registry":"h","imageName":"team/app","tags":[{"name":"v1","digest":"`+d.String()+`","createdTime":"2025-02-03T10:11:12.1Z","lastUpdateTime":"2025-02-03T10:11:12.1234567Z","signed":false,"changeableAttributes":{"deleteEnabled":true,"writeEnabled":false,"readEnabled":true,"listEnabled":true}}]}`))
	a.guard("GET /v2/team/app/manifests/v1", "repository:team/app:pull", reply(200, string(manifest),
		"Content-Type", "application/vnd.oci.image.manifest.v1+json", "Docker-Content-Digest", d.String()))

	c := newClient(t, a.URL)
	repos, err := collect(c.Repositories(t.Context()))
	if err != nil || !slices.Equal(repos, []string{"base", "team/app"}) {
		t.Fatalf("got repositories %q, %v", repos, err)
	}
	tags, err := collect(c.Tags(t.Context(), "team/app", ListOptions{}))
	if err != nil || len(tags) != 1 || tags[0].Name != "v1" || tags[0].Properties.Digest != d {
		t.Fatalf("got tags %v, %v", tags, err)
	}
	if access := tags[0].Properties.Access; !access.Known || access.CanWrite || !access.CanDelete {
		t.Errorf("got access %+v", access)
	}
	body, desc, err := c.Manifest(t.Context(), Ref{Repository: "team/app", Tag: "v1"})
	if err != nil || !bytes.Equal(body, manifest) || desc.Digest != d || desc.Size != int64(len(manifest)) {
		t.Fatalf("got manifest %q %+v, %v", body, desc, err)
	}
	if got := mustRead(t, c, "team/app", layer, 0, -1); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes of the blob, want %d", len(got), len(content))
	}
	if got := mustRead(t, c, "team/app", layer, 7, 11); !bytes.Equal(got, content[7:18]) {
		t.Errorf("got range %q, want %q", got, content[7:18])
	}
	if got := a.count("GET /v2/team/app/blobs/"); got != 1 {
		t.Errorf("the registry was asked %d times for one blob, want 1", got)
	}
	if got := a.count("POST /oauth2/token"); got != 3 {
		t.Errorf("got %d token requests, want 3: catalog, metadata_read, pull", got)
	}
}

func TestPlainEndToEnd(t *testing.T) {
	f := newPlain(t)
	content := bytes.Repeat([]byte("layer"), 1000)
	layer := digest.FromBytes(content)
	manifest := []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(manifest)
	f.on("GET /v2/_catalog", reply(200, `{"repositories":["base"]}`))
	f.on("GET /v2/base/tags/list", reply(200, `{"name":"base","tags":["v1"]}`))
	f.on("HEAD /v2/base/manifests/v1", reply(200, "", "Content-Type", "application/vnd.oci.image.manifest.v1+json",
		"Docker-Content-Digest", d.String(), "Content-Length", "19"))
	f.on("GET /v2/base/blobs/"+layer.String(), func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	c := newClient(t, f.URL)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	repos, err := collect(c.Repositories(t.Context()))
	if err != nil || !slices.Equal(repos, []string{"base"}) {
		t.Fatalf("got repositories %q, %v", repos, err)
	}
	manifests, err := collect(c.Manifests(t.Context(), "base", ListOptions{}))
	if err != nil || len(manifests) != 1 || manifests[0].Digest != d || !slices.Equal(manifests[0].Tags, []string{"v1"}) {
		t.Fatalf("got manifests %+v, %v", manifests, err)
	}
	if got := mustRead(t, c, "base", layer, 4990, 10); !bytes.Equal(got, content[4990:]) {
		t.Errorf("got range %q", got)
	}
	if _, err := c.Update(t.Context(), Ref{Repository: "base"}, AccessPatch{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}
