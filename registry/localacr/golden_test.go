package localacr_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// The literals in this file are what the service itself was recorded or
// documented to answer.

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// What no route matches is answered before anyone asks for a token.
func TestUnknownPathsAreRefusedBeforeAuthentication(t *testing.T) {
	r := start(t, localacr.Config{})
	for _, path := range []string{"/wrong%20location", "/", "/favicon.ico", "/acr/v2/_catalog"} {
		r.raw("GET", path, "").says(404, "Not found").
			has("Content-Type: application/octet-stream", "Content-Length: 9", "Docker-Distribution-Api-Version: ", "WWW-Authenticate: ")
	}
	for _, path := range []string{
		"/acr/v1/library%2Fhello-world/_manifests/wrong-digest",
		"/v2/hello-world/blobs/wrong%20digest",
		"/v2/hello-world/blobs/sha256:sha256:" + strings.Repeat("0", 64),
		"/acr/v1/with%20space",
		"/acr/v1/with space/_tags",
		"/v2/Upper/tags/list",
		"/acr/v1/hello-world/_manifests/latest",
		"/v2/hello-world/nothing/here",
		"/acr/v1/",
		"/acr/v1/a//b",
	} {
		r.raw("GET", strings.ReplaceAll(path, " ", "%20"), "").says(404, "404 page not found\n").
			has("Content-Type: text/plain; charset=utf-8", "Docker-Distribution-Api-Version: registry/2.0", "Content-Length: 19",
				"WWW-Authenticate: ", "Access-Control-Expose-Headers: ")
	}
}

// Of what only Microsoft's own tools use no body is known, and it is not
// there at all: whoever asks finds out at once.
func TestWhatIsNotKnownWellEnoughIsNotThere(t *testing.T) {
	r := start(t, localacr.Config{})
	r.pushImage("a", "v1", "x")
	for _, request := range []string{
		"GET /acr/v1/a/_streaming", "POST /acr/v1/a/_streaming", "POST /acr/v1/a/_streaming/" + zeros, "GET /acr/v1/a/_operations/1", "POST /acr/v1/a/_operations/1:cancel",
		"GET /acr/v1/a/_metadata", "PUT /acr/v1/a/_metadata/key", "GET /acr/v1/a/_tags/v1/_metadata", "DELETE /acr/v1/a/_manifests/" + zeros + "/_metadata/key",
		"POST /acr/v1/_metadata/_query?api-version=2021-08-01-preview",
	} {
		method, target, _ := strings.Cut(request, " ")
		r.raw(method, target, "").says(404, "404 page not found\n")
	}
}

// The challenge, to the letter.
func TestChallenges(t *testing.T) {
	r := start(t, localacr.Config{})
	const message = `authentication required, visit https://aka.ms/acr/authorization for more information.`
	for _, row := range []struct{ method, path, scope, detail string }{
		{"GET", "/v2/", "", `null`},
		{"GET", "/acr/v1/_catalog?n=2", "registry:catalog:*", `[{"Type":"registry","Name":"catalog","Action":"*"}]`},
		{"GET", "/v2/_catalog", "registry:catalog:*", `[{"Type":"registry","Name":"catalog","Action":"*"}]`},
		{"GET", "/acr/v1/team%2Fapp", "repository:team/app:metadata_read", `[{"Type":"repository","Name":"team/app","Action":"metadata_read"}]`},
		{"PATCH", "/acr/v1/team/app/_tags/v1", "repository:team/app:metadata_write", `[{"Type":"repository","Name":"team/app","Action":"metadata_write"}]`},
		{"DELETE", "/acr/v1/team/app", "repository:team/app:delete", `[{"Type":"repository","Name":"team/app","Action":"delete"}]`},
		{"GET", "/v2/team%2Fapp/manifests/latest", "repository:team/app:pull", `[{"Type":"repository","Name":"team/app","Action":"pull"}]`},
		{"PUT", "/v2/team/app/manifests/latest", "repository:team/app:pull,push", `[{"Type":"repository","Name":"team/app","Action":"pull"},{"Type":"repository","Name":"team/app","Action":"push"}]`},
		{"POST", "/v2/team/app/blobs/uploads/?mount=" + zeros + "&from=base", "repository:base:pull repository:team/app:pull,push",
			`[{"Type":"repository","Name":"base","Action":"pull"},{"Type":"repository","Name":"team/app","Action":"pull"},{"Type":"repository","Name":"team/app","Action":"push"}]`},
	} {
		scope := ""
		if row.scope != "" {
			scope = `,scope="` + row.scope + `"`
		}
		r.raw(row.method, row.path, "").
			says(401, `{"errors":[{"code":"UNAUTHORIZED","message":"`+message+`","detail":`+row.detail+`}]}`+"\n").
			has(`WWW-Authenticate: Bearer realm="`+r.url+`/oauth2/token",service="`+r.host+`"`+scope, "Content-Type: application/json; charset=utf-8")
	}
	r.do("GET", "/v2/", "").says(200, "{}").has("Content-Type: application/json; charset=utf-8", "Content-Length: 2")
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer x.y.z").want(401).
		has(`WWW-Authenticate: Bearer realm="` + r.url + `/oauth2/token",service="` + r.host + `",scope="registry:catalog:*",error="invalid_token"`)
	r.raw("GET", "/acr/v1/_catalog", "", "Authorization: Bearer "+r.token("repository:team/app:pull")).want(401).
		has(`WWW-Authenticate: Bearer realm="` + r.url + `/oauth2/token",service="` + r.host + `",scope="registry:catalog:*",error="insufficient_scope"`)
}

// Every error's code, message and detail.
func TestErrorBodies(t *testing.T) {
	r := start(t, localacr.Config{})
	r.pushImage("team/app", "v1", "layer")
	const locked = `{"errors":[{"code":"REGISTRY_DISALLOWED_OPERATION","message":"The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation","detail":{}}]}` + "\n"
	if len(locked) != 263 {
		t.Fatalf("the literal has %d bytes, want 263", len(locked))
	}
	unknownTag := `{"errors":[{"code":"TAG_UNKNOWN","message":"the specified tag does not exist"}]}` + "\n"
	for _, row := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/acr/v1/none", "", 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository \"none\" is not found"}]}` + "\n"},
		{"PATCH", "/acr/v1/no%2Fne", `{"writeEnabled":false}`, 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository \"no/ne\" is not found"}]}` + "\n"},
		{"DELETE", "/acr/v1/none", "", 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"none"}}]}` + "\n"},
		{"GET", "/acr/v1/none/_tags", "", 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository \"none\" is not found"}]}` + "\n"},
		{"GET", "/acr/v1/none/_tags/v1", "", 404, unknownTag},
		{"GET", "/acr/v1/team%2Fapp/_tags/none", "", 404, unknownTag},
		{"PATCH", "/acr/v1/team%2Fapp/_tags/none", `{}`, 404, unknownTag},
		{"DELETE", "/acr/v1/team%2Fapp/_tags/none", "", 404, unknownTag},
		{"GET", "/acr/v1/team/app/_manifests/" + zeros, "", 404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}` + "\n"},
		{"GET", "/v2/team/app/manifests/none", "", 404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest tagged by \"none\" is not found","detail":{"Tag":"none"}}]}` + "\n"},
		{"GET", "/v2/team/app/manifests/" + zeros, "", 404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest ` + zeros + ` is not found","detail":{"Name":"team/app","Revision":"` + zeros + `"}}]}` + "\n"},
		{"DELETE", "/v2/team/app/manifests/" + zeros, "", 404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest ` + zeros + ` is not found"}]}` + "\n"},
		{"DELETE", "/v2/team/app/manifests/v1", "", 405, `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported.","detail":"A manifest can only be deleted by digest."}]}` + "\n"},
		{"GET", "/v2/team/app/blobs/" + zeros, "", 404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}` + "\n"},
		{"DELETE", "/v2/team/app/blobs/" + zeros, "", 404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}` + "\n"},
		{"PATCH", "/v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000?_state=x", "x", 404, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}` + "\n"},
	} {
		got := r.do(row.method, row.path, row.body).says(row.status, row.want).has(
			"Content-Type: application/json; charset=utf-8", fmt.Sprintf("Content-Length: %d", len(row.want)), "Docker-Distribution-Api-Version: registry/2.0")
		if t.Failed() {
			t.Fatal(got.request)
		}
	}
	if n := len(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}` + "\n"); n != 70 {
		t.Errorf("ACR's has 70 bytes, the literal has %d", n)
	}
	r.do("PATCH", "/acr/v1/team/app/_tags/v1", `{"deleteEnabled":false}`).want(200)
	r.do("DELETE", "/acr/v1/team/app/_tags/v1", "").says(405, locked)
	r.do("HEAD", "/v2/team/app/manifests/none", "").says(404, "")
	r.do("HEAD", "/v2/team/app/blobs/"+zeros, "").says(404, "")
}

// Authentication comes before the handler, and so before its methods.
func TestMethodsThatAreNotThere(t *testing.T) {
	r := start(t, localacr.Config{})
	r.pushImage("a", "v1", "layer")
	for request, allow := range map[string]string{
		"POST /v2/":                       "GET, HEAD",
		"POST /v2/a/manifests/v1":         "GET, HEAD, PUT, DELETE",
		"HEAD /v2/a/tags/list":            "GET",
		"PUT /acr/v1/a":                   "GET, PATCH, DELETE",
		"DELETE /acr/v1/_catalog":         "GET",
		"GET /v2/a/blobs/uploads/":        "POST",
		"FROB /acr/v1/a/_tags/v1":         "GET, PATCH, DELETE",
		"POST /v2/a/referrers/" + zeros:   "GET",
		"DELETE /acr/v1/_deleted/a/_tags": "GET, POST",
	} {
		method, path, _ := strings.Cut(request, " ")
		r.raw(method, path, "").want(401)
		got := r.do(method, path, "").want(405).has("Allow: "+allow, "Docker-Distribution-Api-Version: registry/2.0")
		if want := "Method not allowed\n"; method != "HEAD" && got.body != want {
			t.Errorf("%s: %q", request, got.body)
		}
	}
	r.raw("GET", "/oauth2/exchange", "").want(405).has("Allow: POST")
	r.do("OPTIONS", "/v2/a/manifests/v1", "").says(200, "").has("Allow: GET, HEAD, PUT, DELETE")
}

// The headers of an ordinary answer.
func TestHeaders(t *testing.T) {
	r := start(t, localacr.Config{})
	r.pushImage("team/app", "v1", "layer")
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	got := r.do("GET", "/acr/v1/_catalog", "").says(200, `{"repositories":["team/app"]}`+"\n").has(
		"Access-Control-Expose-Headers: Docker-Content-Digest | WWW-Authenticate | Link | X-Ms-Correlation-Request-Id",
		"Docker-Distribution-Api-Version: registry/2.0",
		"Server: AzureContainerRegistry",
		"Strict-Transport-Security: max-age=31536000; includeSubDomains | max-age=31536000; includeSubDomains",
		"X-Content-Type-Options: nosniff",
		"Content-Type: application/json; charset=utf-8",
		"Content-Length: 30")
	if id := got.header.Get("X-Ms-Correlation-Request-Id"); !uuid.MatchString(id) {
		t.Errorf("correlation id %q is no GUID", id)
	}
	got = r.do("HEAD", "/v2/team/app/manifests/v1", "", "Accept: "+acceptAll, "x-ms-client-request-id: mine").want(200).has("X-Ms-Client-Request-Id: mine")
	if id := got.header.Get("X-Ms-Request-Id"); !uuid.MatchString(id) {
		t.Errorf("request id %q is no GUID", id)
	}
	got = r.do("HEAD", "/v2/team/app/manifests/v1", "", "Accept: "+acceptAll).want(200)
	if id, ok := got.header["X-Ms-Client-Request-Id"]; !ok || id[0] != "" {
		t.Errorf("the id of a client that has none is %q, want an empty one", id)
	}
	r.do("DELETE", "/acr/v1/team/app/_tags/v1", "").want(202).has("X-Ms-Ratelimit-Remaining-Calls-Per-Second: 8.000000", "Content-Length: 0")
}

// A tag may begin with an underscore, and so be one of the words that the
// API's addresses are made of.
func TestTagThatIsAWordOfTheAPI(t *testing.T) {
	r := start(t, localacr.Config{})
	for _, tag := range []string{"_tags", "_manifests"} {
		r.pushImage("a", tag, "layer")
		at := "/acr/v1/a/_tags/" + tag
		if got := r.do("GET", at, "").want(200); !strings.Contains(got.body, `"name":"`+tag+`"`) {
			t.Errorf("GET %s: %s", at, got.body)
		}
		r.do("PATCH", at, `{"deleteEnabled":false}`).want(200)
		r.do("DELETE", at, "").want(405)
		r.do("PATCH", at, `{"deleteEnabled":true}`).want(200)
		r.do("DELETE", at, "").want(202)
		r.do("GET", at, "").want(404)
	}
	r.do("GET", "/acr/v1/a/_tags", "").want(200)
	r.do("GET", "/acr/v1/a/_manifests", "").want(200)
}

var (
	timestamp = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z"`)
	anyTime   = `"TIME"`
)

// timeless replaces the times, which must have the form of 1.0.
func timeless(body string) string { return timestamp.ReplaceAllString(body, anyTime) }

// The bodies of properties and lists, field by field in order.
func TestPropertyBodies(t *testing.T) {
	r := start(t, localacr.Config{Name: "contoso.azurecr.io"})
	r.host = "contoso.azurecr.io"
	manifest := r.image("team/app", typeDockerManifest, "layer")
	d := r.pushManifest("team/app", "v1", typeDockerManifest, manifest)
	list := index(typeDockerList, child(typeDockerManifest, d, len(manifest), "amd64"))
	l := r.pushManifest("team/app", "latest", typeDockerList, list)
	const free = `"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}`
	const head = `{"registry":"contoso.azurecr.io","imageName":"team/app",`
	imageSize := len(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`) + len("layer") + len(manifest)
	image := fmt.Sprintf(`{"digest":%q,"imageSize":%d,"createdTime":"TIME","lastUpdateTime":"TIME","architecture":"amd64","os":"linux","mediaType":%q,"configMediaType":"application/vnd.docker.container.image.v1+json","tags":["v1"],`+free, d, imageSize, typeDockerManifest)
	indexed := fmt.Sprintf(`{"digest":%q,"imageSize":%d,"createdTime":"TIME","lastUpdateTime":"TIME","mediaType":%q,"tags":["latest"],`+free, l, imageSize+len(list), typeDockerList)
	tag := fmt.Sprintf(`{"name":"v1","digest":%q,"createdTime":"TIME","lastUpdateTime":"TIME","signed":false,`+free+`}`, d)
	latest := strings.ReplaceAll(strings.ReplaceAll(tag, d, l), `"v1"`, `"latest"`)
	first, second := image+"}", indexed+"}"
	if l < d {
		first, second = second, first
	}
	for path, want := range map[string]string{
		"/acr/v1/team%2Fapp":                                               head + `"createdTime":"TIME","lastUpdateTime":"TIME","manifestCount":2,"tagCount":2,` + free + "}\n",
		"/acr/v1/team%2Fapp/_tags":                                         head + `"tags":[` + latest + "," + tag + "]}\n",
		"/acr/v1/team%2Fapp/_tags?digest=" + d:                             head + `"tags":[` + tag + "]}\n",
		"/acr/v1/team%2Fapp/_tags/v1":                                      head + `"tag":` + tag + "}\n",
		"/acr/v1/team/app/_manifests":                                      head + `"manifests":[` + first + "," + second + "]}\n",
		"/acr/v1/team/app/_manifests/" + d:                                 head + `"manifest":` + image + "}}\n",
		"/acr/v1/team/app/_manifests/" + strings.ReplaceAll(l, ":", "%3A"): head + `"manifest":` + indexed + `,"references":[{"digest":"` + d + `","architecture":"amd64","os":"linux"}]}}` + "\n",
		"/v2/team/app/tags/list":                                           `{"name":"team/app","tags":["latest","v1"]}` + "\n",
		"/v2/_catalog":                                                     `{"repositories":["team/app"]}` + "\n",
	} {
		got := r.do("GET", path, "").want(200)
		if timeless(got.body) != want {
			t.Errorf("GET %s:\n got %s\nwant %s", path, timeless(got.body), want)
		}
	}
	r.checked()
}

// A push's answer, and the negotiation of what a pull gets.
func TestManifestAnswers(t *testing.T) {
	r := start(t, localacr.Config{})
	manifest := r.image("team/app", typeManifest, "layer")
	d := localacr.DigestOf("", []byte(manifest))
	r.auth("PUT", "team/app", "/v2/team/app/manifests/v1", manifest, "Content-Type: "+typeManifest).says(201, "").
		has("Docker-Content-Digest: "+d, "Location: /v2/team/app/manifests/"+d, "Content-Length: 0")
	for _, ref := range []string{"v1", d, strings.ReplaceAll(d, ":", "%3A")} {
		r.do("GET", "/v2/team%2Fapp/manifests/"+ref, "", "Accept: application/json", "Accept: text/x, "+typeManifest+";q=0.1").says(200, manifest).
			has("Content-Type: "+typeManifest, "Docker-Content-Digest: "+d, `ETag: "`+d+`"`, fmt.Sprintf("Content-Length: %d", len(manifest)))
		r.do("HEAD", "/v2/team/app/manifests/"+ref, "", "Accept: "+typeManifest).says(200, "").has(fmt.Sprintf("Content-Length: %d", len(manifest)))
		r.do("GET", "/v2/team/app/manifests/"+ref, "", "Accept: "+typeManifest, `If-None-Match: "`+d+`"`).says(304, "")
		r.do("GET", "/v2/team/app/manifests/"+ref, "", "Accept: */*").
			says(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"OCI manifest found, but accept header does not support OCI manifests"}]}`+"\n")
	}
	r.pushManifest("team/app", "idx", typeIndex, index(typeIndex, child(typeManifest, d, len(manifest), "amd64")))
	r.do("GET", "/v2/team/app/manifests/idx", "", "Accept: "+typeManifest).
		says(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"OCI index found, but accept header does not support OCI indexes"}]}`+"\n")
	artifact := `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"x/y","blobs":[]}`
	r.pushManifest("team/app", "artifact", "application/vnd.oci.artifact.manifest.v1+json", artifact)
	r.do("GET", "/v2/team/app/manifests/artifact", "", "Accept: "+typeManifest).
		says(404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"OCI artifact found, but accept header does not support OCI artifacts"}]}`+"\n")
	r.do("GET", "/v2/team/app/manifests/artifact", "", "Accept: application/vnd.oci.artifact.manifest.v1+json").says(200, artifact)
	for name, body := range map[string]string{
		"other mediaType": strings.Replace(manifest, typeManifest, typeDockerManifest, 1), "no JSON": "hello", "empty": "",
		"a digest of nothing": `{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:xyz","size":1},"layers":[]}`,
	} {
		got := r.auth("PUT", "team/app", "/v2/team/app/manifests/bad", body, "Content-Type: "+typeManifest)
		if got.status != 400 || got.body != `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"Reason":{}}}]}`+"\n" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	r.auth("PUT", "team/app", "/v2/team/app/manifests/"+zeros, manifest, "Content-Type: "+typeManifest).want(400)
	gone := strings.ReplaceAll(manifest, localacr.DigestOf("", []byte("layer")), zeros)
	r.auth("PUT", "team/app", "/v2/team/app/manifests/bad", gone, "Content-Type: "+typeManifest).
		says(400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"`+zeros+`"}]}`+"\n")
	r.auth("PUT", "team/app", "/v2/team/app/manifests/bad", index(typeIndex, child(typeManifest, zeros, 1, "amd64")), "Content-Type: "+typeIndex).
		says(400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"`+zeros+`"}]}`+"\n")
	r.checked()
}

// What ACR or the distribution spec lets manifests be.
func TestUnusualManifests(t *testing.T) {
	r := start(t, localacr.Config{})
	const limit = 4 << 20
	largest := `{"schemaVersion":2,"mediaType":"` + typeIndex + `","manifests":[],"annotations":{"x":"`
	largest += strings.Repeat("x", limit-len(largest)-3) + `"}}`
	empty := r.pushBlob("a", nil)
	config := r.pushBlob("a", []byte("{}"))
	noLayers := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2,"data":"e30="},"layers":[],"custom":{"a":[1]}}`, typeManifest, config)
	foreign := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":9,"urls":["https://example.com/layer"]},{"mediaType":"x/y","digest":%q,"size":0}]}`, typeDockerManifest, config, zeros, empty)
	oras := fmt.Sprintf(`{"mediaType":"application/vnd.cncf.oras.artifact.manifest.v1+json","artifactType":"x/y","blobs":[{"mediaType":"x/y","digest":%q,"size":2}]}`, config)
	for name, row := range map[string]struct{ mediaType, body string }{
		"4 MiB":                {typeIndex, largest},
		"no layers":            {typeManifest, noLayers},
		"a foreign layer":      {typeDockerManifest, foreign},
		"an ORAS artifact":     {"application/vnd.cncf.oras.artifact.manifest.v1+json", oras},
		"nobody's type":        {"application/x.nobody+json", `{"layers":"not what we call layers"}`},
		"schema 1":             {typeSchema1, `{"schemaVersion":1,"name":"a","tag":"x","architecture":"amd64","fsLayers":[{"blobSum":"` + zeros + `"}]}`},
		"an index of an index": {typeIndex, index(typeIndex, child(typeIndex, r.pushManifest("a", "inner", typeIndex, index(typeIndex)), 0, "amd64"))},
	} {
		d := r.pushManifest("a", "t", row.mediaType, row.body)
		if d != localacr.DigestOf("", []byte(row.body)) {
			t.Errorf("%s: %s", name, d)
		}
		r.do("GET", "/v2/a/manifests/t", "", "Accept: "+row.mediaType).says(200, row.body).has("Content-Type: " + row.mediaType)
	}
	if got := r.do("GET", "/acr/v1/a/_manifests/"+localacr.DigestOf("", []byte(noLayers)), "").want(200).body; !strings.Contains(got, `"imageSize":0,`) {
		t.Errorf("an image without layers counts as nothing: %s", got)
	}
	r.auth("PUT", "a", "/v2/a/manifests/t", largest+" ", "Content-Type: "+typeIndex).want(400)
	// Without a Content-Type the manifest says what it is, or its shape does.
	for body, mediaType := range map[string]string{
		noLayers: typeManifest,
		`{"schemaVersion":2,"config":{"mediaType":"x/y","digest":"` + config + `","size":2},"layers":[]}`: typeManifest,
		`{"schemaVersion":2,"manifests":[]}`:                          typeIndex,
		`{"schemaVersion":1,"name":"a","tag":"t","fsLayers":[]}`:      typeSchema1,
		`{"schemaVersion":2,"mediaType":"application/x.nobody+json"}`: "application/x.nobody+json",
	} {
		r.auth("PUT", "a", "/v2/a/manifests/untyped", body).want(201)
		r.do("GET", "/v2/a/manifests/untyped", "", "Accept: "+mediaType).says(200, body).has("Content-Type: " + mediaType)
	}
	r.auth("PUT", "a", "/v2/a/manifests/untyped", `{"schemaVersion":2}`).want(400)
	r.checked()
}
