package localacr_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// TestConformance asks what the OCI distribution specification 1.1 says that a
// registry MUST, in its own four categories, and what its conformance suite
// checks besides. The numbers are its endpoints'. Where ACR does otherwise, the
// row says so.
func TestConformance(t *testing.T) {
	r := start(t, localacr.Config{})
	image := r.image("a/b", typeManifest, "layer")
	manifest := r.pushManifest("a/b", "v1", typeManifest, image)
	for _, tag := range []string{"v0", "v2", "v3"} {
		r.pushManifest("a/b", tag, typeManifest, image)
	}
	layer := localacr.DigestOf("", []byte("layer"))
	referrer := r.image("a/b", typeManifest, "referrer", fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, typeManifest, manifest, len(image)))
	r.pushManifest("a/b", localacr.DigestOf("", []byte(referrer)), typeManifest, referrer)
	spare := r.pushBlob("a/b", []byte("spare"))
	wanting := strings.Replace(image, layer, zeros, 1)

	const accept = "Accept: " + typeManifest
	for _, row := range []struct {
		name    string
		request string // method and path
		body    string
		send    []string // headers
		status  int
		code    string   // of the error
		has     []string // headers of the answer
	}{
		// Pull.
		{"end-1", "GET /v2/", "", nil, 200, "", nil},
		{"end-2 of what is not there", "GET /v2/a/b/blobs/" + zeros, "", nil, 404, "BLOB_UNKNOWN", nil},
		{"end-2 HEAD", "HEAD /v2/a/b/blobs/" + layer, "", nil, 200, "", []string{"Content-Length: 5", "Docker-Content-Digest: " + layer}},
		{"end-2 HEAD of what is not there", "HEAD /v2/a/b/blobs/" + zeros, "", nil, 404, "", nil},
		{"end-3 by tag", "GET /v2/a/b/manifests/v1", "", []string{accept}, 200, "", []string{"Content-Type: " + typeManifest, "Docker-Content-Digest: " + manifest}},
		{"end-3 by digest", "GET /v2/a/b/manifests/" + manifest, "", []string{accept}, 200, "", []string{"Docker-Content-Digest: " + manifest}},
		{"end-3 HEAD", "HEAD /v2/a/b/manifests/v1", "", []string{accept}, 200, "", []string{fmt.Sprintf("Content-Length: %d", len(image)), "Docker-Content-Digest: " + manifest}},
		{"end-3 of no tag", "GET /v2/a/b/manifests/none", "", []string{accept}, 404, "MANIFEST_UNKNOWN", nil},
		{"end-3 of no digest", "GET /v2/a/b/manifests/" + zeros, "", []string{accept}, 404, "MANIFEST_UNKNOWN", nil},
		{"end-3 HEAD of no tag", "HEAD /v2/a/b/manifests/none", "", []string{accept}, 404, "", nil},
		{"end-3 of no repository", "GET /v2/no/where/manifests/v1", "", []string{accept}, 404, "*", nil},

		// Push. Uploads in order are TestUploadInChunks.
		{"end-4a", "POST /v2/a/b/blobs/uploads/", "", nil, 202, "", []string{"Content-Length: 0"}},
		{"end-4b", "POST /v2/a/b/blobs/uploads/?digest=" + spare, "spare", []string{"Content-Type: application/octet-stream"}, 201, "", []string{"Location: /v2/a/b/blobs/" + spare}},
		{"end-11", "POST /v2/c/blobs/uploads/?mount=" + spare + "&from=a/b", "", nil, 201, "", []string{"Location: /v2/c/blobs/" + spare}},
		{"end-11 of what is not there", "POST /v2/c/blobs/uploads/?mount=" + zeros + "&from=a/b", "", nil, 202, "", nil},
		{"end-11 from nowhere", "POST /v2/c/blobs/uploads/?mount=" + spare, "", nil, 202, "", nil},
		{"end-7", "PUT /v2/a/b/manifests/v1", image, []string{"Content-Type: " + typeManifest}, 201, "", []string{"Location: /v2/a/b/manifests/" + manifest, "Docker-Content-Digest: " + manifest}},
		{"end-7 with a layer that is not there", "PUT /v2/a/b/manifests/bad", wanting, []string{"Content-Type: " + typeManifest}, 400, "MANIFEST_BLOB_UNKNOWN", nil},
		{"end-7 under another digest", "PUT /v2/a/b/manifests/" + zeros, image, []string{"Content-Type: " + typeManifest}, 400, "DIGEST_INVALID", nil},
		{"end-7 under no digest, where the suite wants 400, and ACR knows no such address", "PUT /v2/a/b/manifests/sha256:baddigeststring", image, []string{"Content-Type: " + typeManifest}, 404, "", nil},
		{"end-7 of no manifest", "PUT /v2/a/b/manifests/bad", "blah", []string{"Content-Type: " + typeManifest}, 400, "MANIFEST_INVALID", nil},
		{"end-7 with a subject", "PUT /v2/a/b/manifests/" + localacr.DigestOf("", []byte(referrer)), referrer, []string{"Content-Type: " + typeManifest}, 201, "", []string{"OCI-Subject: " + manifest}},

		// Discovery.
		{"end-8a", "GET /v2/a/b/tags/list", "", nil, 200, "", []string{"Link: "}},
		{"end-8b", "GET /v2/a/b/tags/list?n=2", "", nil, 200, "", []string{`Link: </v2/a/b/tags/list?last=v1&n=2&orderby=>; rel="next"`}},
		{"end-8b, the rest", "GET /v2/a/b/tags/list?n=2&last=v1", "", nil, 200, "", []string{"Link: "}},
		{"end-8a of no repository", "GET /v2/no/where/tags/list", "", nil, 404, "NAME_UNKNOWN", nil},
		{"end-12a", "GET /v2/a/b/referrers/" + manifest, "", nil, 200, "", []string{"Content-Type: " + typeIndex}},
		{"end-12a of what nobody refers to", "GET /v2/a/b/referrers/" + zeros, "", nil, 200, "", []string{"Content-Type: " + typeIndex}},
		{"end-12b", "GET /v2/a/b/referrers/" + manifest + "?artifactType=x/y", "", nil, 200, "", []string{"OCI-Filters-Applied: artifactType"}},

		// Management.
		{"end-9 by tag, which the suite lets a registry refuse, and ACR does", "DELETE /v2/a/b/manifests/v3", "", nil, 405, "UNSUPPORTED", nil},
		{"end-10", "DELETE /v2/a/b/blobs/" + spare, "", nil, 202, "", nil},
		{"end-10 is done", "HEAD /v2/a/b/blobs/" + spare, "", nil, 404, "", nil},
		{"end-10 spares the other repository", "HEAD /v2/c/blobs/" + spare, "", nil, 200, "", nil},
		{"end-9", "DELETE /v2/a/b/manifests/" + manifest, "", nil, 202, "", nil},
		{"end-9 is done", "GET /v2/a/b/manifests/" + manifest, "", []string{accept}, 404, "*", nil},
		{"end-9 took the tags along", "GET /v2/a/b/manifests/v1", "", []string{accept}, 404, "*", nil},
	} {
		method, path, _ := strings.Cut(row.request, " ")
		t.Run(row.name, func(t *testing.T) {
			got := r.do(method, path, row.body, row.send...)
			got.TB = t
			got.want(row.status).has(row.has...)
			if row.code != "" && row.code != "*" && !strings.Contains(got.body, `{"errors":[{"code":"`+row.code+`"`) {
				t.Errorf("got %q, want the code %s", got.body, row.code)
			}
		})
	}
	r.checked()
}

// The specification knows a second algorithm. ACR refuses it; a registry that
// takes it takes it everywhere.
func TestConformanceOfSHA512(t *testing.T) {
	r := start(t, localacr.Config{})
	digest := func(data string) string { return localacr.DigestOf("sha512", []byte(data)) }
	push := func(mediaType, manifest string) {
		t.Helper()
		d := digest(manifest)
		r.auth("PUT", "a", "/v2/a/manifests/"+d, manifest, "Content-Type: "+mediaType).want(201).has("Location: /v2/a/manifests/"+d, "Docker-Content-Digest: "+d)
		r.do("GET", "/v2/a/manifests/"+d, "", "Accept: "+mediaType).says(200, manifest).has("Docker-Content-Digest: " + d)
	}
	for _, blob := range []string{"{}", "layer"} {
		r.auth("POST", "a", "/v2/a/blobs/uploads/?digest="+digest(blob), blob).want(201)
		r.fetch("a", digest(blob)).says(200, blob)
	}
	image := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"x/y","digest":%q,"size":5}]}`, typeManifest, digest("{}"), digest("layer"))
	push(typeManifest, image)
	push(typeIndex, index(typeIndex, child(typeManifest, digest(image), len(image), "amd64")))
	referrer := strings.Replace(image, `"config"`, fmt.Sprintf(`"subject":{"mediaType":%q,"digest":%q,"size":%d},"config"`, typeManifest, digest(image), len(image)), 1)
	push(typeManifest, referrer)
	if got := names(t, r.do("GET", "/v2/a/referrers/"+digest(image), "").want(200).body); len(got) != 1 || got[0] != digest(referrer) {
		t.Errorf("referrers %v", got)
	}
	r.auth("PUT", "a", "/v2/a/manifests/"+digest("other"), image, "Content-Type: "+typeManifest).want(400)
	r.checked()
	for _, d := range []string{digest(image), digest(referrer)} {
		r.do("GET", "/acr/v1/a/_manifests/"+d, "").want(200)
	}
	r.do("DELETE", "/v2/a/manifests/"+digest(image), "").want(202)
	r.do("GET", "/v2/a/manifests/"+digest(referrer), "", "Accept: "+typeManifest).want(404)
	r.checked()
}
