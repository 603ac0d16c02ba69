package localacr_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// 5.5, and the headers and bodies of 1.3, 1.4, 1.6.
func TestDeletions(t *testing.T) {
	r := start(t, localacr.Config{})
	body := r.image("a", typeManifest, "x")
	d := r.pushManifest("a", "v1", typeManifest, body)
	r.pushManifest("a", "v2", typeManifest, body)
	list := index(typeIndex, child(typeManifest, d, len(body), "amd64"))
	l := r.pushManifest("a", "latest", typeIndex, list)

	// A tag goes alone.
	r.do("DELETE", "/acr/v1/a/_tags/v1", "").says(202, "").has("X-Ms-Int-Docker-Content-Digest: " + d)
	if got := r.do("GET", "/acr/v1/a/_manifests/"+d, "").want(200).body; !strings.Contains(got, `"tags":["v2"]`) {
		t.Error(got)
	}
	// An index leaves its children.
	r.do("DELETE", "/v2/a/manifests/"+l, "").says(202, "")
	r.do("GET", "/acr/v1/a/_tags/latest", "").want(404)
	r.do("GET", "/v2/a/manifests/"+d, "", "Accept: "+typeManifest).says(200, body)
	// A child may go before its index, a manifest takes its tags along.
	r.pushManifest("a", "latest", typeIndex, list)
	r.do("DELETE", "/v2/a/manifests/"+d, "").says(202, "")
	r.do("GET", "/acr/v1/a/_tags/v2", "").want(404)
	r.do("GET", "/v2/a/manifests/latest", "", "Accept: "+typeIndex).says(200, list)
	// The last manifest takes the repository along.
	r.do("DELETE", "/v2/a/manifests/"+l, "").says(202, "")
	r.do("GET", "/acr/v1/a", "").want(404)
	r.do("GET", "/acr/v1/_catalog", "").says(200, `{"repositories":[]}`+"\n")
	r.checked()

	d = r.pushImage("b/c", "v1", "y")
	e := r.pushImage("b/c", "latest", "z")
	r.pushImage("b", "v1", "y")
	r.do("DELETE", "/acr/v1/b%2Fc", "").says(202, `{"manifestsDeleted":["`+min(d, e)+`","`+max(d, e)+`"],"tagsDeleted":["latest","v1"]}`+"\n")
	r.do("DELETE", "/acr/v1/b%2Fc", "").want(404)
	r.do("GET", "/v2/b/c/blobs/"+localacr.DigestOf("", []byte("y")), "").want(404)
	r.fetch("b", localacr.DigestOf("", []byte("y"))).says(200, "y")
	r.checked()
}

var created = regexp.MustCompile(`"createdTime":"([^"]*)","lastUpdateTime":"([^"]*)"`)

// A moved tag keeps the time of its creation; so does a manifest pushed again.
func TestTimesOnMoves(t *testing.T) {
	r := start(t, localacr.Config{})
	body := r.image("a", typeManifest, "x")
	d := r.pushManifest("a", "v1", typeManifest, body)
	tag := created.FindStringSubmatch(r.do("GET", "/acr/v1/a/_tags/v1", "").body)
	manifest := created.FindStringSubmatch(r.do("GET", "/acr/v1/a/_manifests/"+d, "").body)
	r.pushManifest("a", "v1", typeManifest, body+" ")
	moved := created.FindStringSubmatch(r.do("GET", "/acr/v1/a/_tags/v1", "").body)
	if moved[1] != tag[1] || moved[2] == tag[2] {
		t.Errorf("moved: %v, before: %v", moved, tag)
	}
	if got := r.do("GET", "/acr/v1/a/_manifests/"+d, "").body; strings.Contains(got, `"tags"`) {
		t.Error(got)
	}
	r.pushManifest("a", d, typeManifest, body)
	again := created.FindStringSubmatch(r.do("GET", "/acr/v1/a/_manifests/"+d, "").body)
	if again[1] != manifest[1] {
		t.Errorf("pushed again: %v, before: %v", again, manifest)
	}
	r.checked()
}

// Soft delete is off: its endpoints are there and have nothing.
func TestSoftDeleteIsOff(t *testing.T) {
	r := start(t, localacr.Config{Name: "reg"})
	r.host = "reg"
	d := r.pushImage("a", "v1", "x")
	r.do("DELETE", "/v2/a/manifests/"+d, "").want(202)
	r.do("GET", "/acr/v1/_deleted/_catalog", "").says(200, `{"repositories":[]}`+"\n")
	r.do("GET", "/acr/v1/_deleted/a/_manifests", "").says(200, `{"registry":"reg","imageName":"a","manifests":[]}`+"\n")
	r.do("GET", "/acr/v1/_deleted/a/_tags", "").says(200, `{"registry":"reg","imageName":"a","tags":[]}`+"\n")
	r.auth("POST", "a", "/acr/v1/_deleted/a/_manifests/"+d+"?force=true", `{"tag":"v1"}`).want(404)
}

func TestReadOnly(t *testing.T) {
	root := freshRoot(t)
	s, err := localacr.Open(localacr.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	body := r.image("a", typeManifest, "x")
	d := r.pushManifest("a", "v1", typeManifest, body)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r = start(t, localacr.Config{Root: root, ReadOnly: true})
	r.do("GET", "/v2/a/manifests/v1", "", "Accept: "+typeManifest).says(200, body)
	for _, op := range []string{"DELETE /acr/v1/a/_tags/v1", "DELETE /v2/a/manifests/" + d, "DELETE /acr/v1/a", "PATCH /acr/v1/a", "POST /v2/a/blobs/uploads/", "PUT /v2/a/manifests/v2"} {
		method, path, _ := strings.Cut(op, " ")
		r.auth(method, "a", path, "{}").says(405, `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`+"\n")
	}
}
