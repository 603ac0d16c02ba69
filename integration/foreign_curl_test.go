package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignCurlReplays sends requests as recorded from the real service, with
// curl, and compares the answers with those recorded.
func TestForeignCurlReplays(t *testing.T) {
	needTools(t, "curl")
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "team/app", "v1", chart)
	push(t, s, "base", "v1", fixture.Image("amd64", "", "1"))
	push(t, s, "zoo", "v1", chart)
	const unknown = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	const text, jsonType = "text/plain; charset=utf-8", "application/json; charset=utf-8"
	for _, row := range []struct {
		name   string
		scope  string // of the token sent along; "" sends none
		method string
		path   string
		status int
		header map[string]string
		body   string // "*" for any
	}{
		{
			"a path that nobody knows", "", "GET", "/wrong%20location",
			404, map[string]string{"Content-Type": "application/octet-stream"}, "Not found",
		},
		{
			"a digest that is none", "", "GET", "/acr/v1/team/app/_manifests/wrong-digest",
			404, map[string]string{"Content-Type": text, "Docker-Distribution-Api-Version": "registry/2.0", "Www-Authenticate": ""}, "404 page not found\n",
		},
		{
			"the version check without a token", "", "GET", "/v2/",
			401, map[string]string{"Www-Authenticate": `Bearer realm="URL/oauth2/token",service="HOST"`}, "*",
		},
		{
			"a challenge", "", "GET", "/acr/v1/team%2Fapp",
			401, map[string]string{"Www-Authenticate": `Bearer realm="URL/oauth2/token",service="HOST",scope="repository:team/app:metadata_read"`},
			`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required, visit https://aka.ms/acr/authorization for more information.","detail":[{"Type":"repository","Name":"team/app","Action":"metadata_read"}]}]}` + "\n",
		},
		{
			"a token too narrow", "repository:team/app:pull", "GET", "/acr/v1/_catalog",
			401, map[string]string{"Www-Authenticate": `Bearer realm="URL/oauth2/token",service="HOST",scope="registry:catalog:*",error="insufficient_scope"`}, "*",
		},
		{"the version check", "repository:team/app:pull", "GET", "/v2/", 200, nil, "{}"},
		{
			"a page of the catalog", "registry:catalog:*", "GET", "/acr/v1/_catalog?n=2&api-version=2021-07-01",
			200, map[string]string{"Content-Type": jsonType, "Link": `</acr/v1/_catalog?last=team%2Fapp&n=2&orderby=>; rel="next"`},
			`{"repositories":["base","team/app"]}` + "\n",
		},
		{
			"the last page of the catalog", "registry:catalog:*", "GET", "/acr/v1/_catalog?last=team%2Fapp&n=2",
			200, map[string]string{"Link": ""}, `{"repositories":["zoo"]}` + "\n",
		},
		{
			"a repository that nobody knows", "repository:nothing:metadata_read", "GET", "/acr/v1/nothing",
			404, nil, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository \"nothing\" is not found"}]}` + "\n",
		},
		{
			"a tag that nobody knows", "repository:team/app:metadata_read", "GET", "/acr/v1/team%2Fapp/_tags/nothing",
			404, nil, `{"errors":[{"code":"TAG_UNKNOWN","message":"the specified tag does not exist"}]}` + "\n",
		},
		{
			"properties of a manifest that nobody knows", "repository:team/app:metadata_read", "GET", "/acr/v1/team%2Fapp/_manifests/" + unknown,
			404, map[string]string{"Content-Length": "70"}, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}` + "\n",
		},
		{
			"a manifest by a tag that nobody knows", "repository:team/app:pull", "GET", "/v2/team/app/manifests/nothing",
			404, nil, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest tagged by \"nothing\" is not found","detail":{"Tag":"nothing"}}]}` + "\n",
		},
		{
			"a manifest that nobody knows", "repository:team/app:pull", "GET", "/v2/team/app/manifests/" + strings.Replace(unknown, ":", "%3A", 1),
			404, nil, fmt.Sprintf(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest %s is not found","detail":{"Name":"team/app","Revision":"%[1]s"}}]}`+"\n", unknown),
		},
		{
			"a blob that nobody knows", "repository:team/app:pull", "GET", "/v2/team/app/blobs/" + unknown,
			404, nil, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}` + "\n",
		},
		{
			"a blob", "repository:team/app:pull", "GET", "/v2/team/app/blobs/" + chart.Blobs[0].Digest.String(),
			307, map[string]string{"Docker-Content-Digest": chart.Blobs[0].Digest.String(), "Content-Type": "text/html; charset=utf-8"}, "*",
		},
		{
			"deleting a manifest by tag", "repository:team/app:delete", "DELETE", "/v2/team/app/manifests/v1",
			405, nil, "*",
		},
		{
			"deleting a repository", "repository:zoo:delete", "DELETE", "/acr/v1/zoo",
			202, nil, fmt.Sprintf(`{"manifestsDeleted":[%q],"tagsDeleted":["v1"]}`+"\n", chart.Digest),
		},
		{
			"deleting a repository that is gone", "repository:zoo:delete", "DELETE", "/acr/v1/zoo",
			404, nil, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"zoo"}}]}` + "\n",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := []string{"--request", row.method}
			if row.scope != "" {
				args = append(args, "--header", "Authorization: Bearer "+curlToken(t, s, row.scope))
			}
			status, header, body := curl(t, s, row.path, args...)
			if status != row.status {
				t.Errorf("status %d, want %d: %s", status, row.status, body)
			}
			for name, want := range row.header {
				want = strings.NewReplacer("URL", s.url, "HOST", s.host()).Replace(want)
				if got := header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if diff := cmp.Diff(row.body, body); row.body != "*" && diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// curlToken asks for a token as az and docker do.
func curlToken(t testing.TB, s *server, scope string) string {
	t.Helper()
	status, _, body := curl(t, s, "/oauth2/token", "--data-urlencode", "grant_type=password",
		"--data-urlencode", "service="+s.host(), "--data-urlencode", "scope="+scope)
	var token map[string]string
	if err := json.Unmarshal([]byte(body), &token); status != 200 || err != nil {
		t.Fatalf("token: %d %s", status, body)
	}
	if len(token) != 1 || token["access_token"] == "" {
		t.Fatalf("the answer has %v, want access_token and nothing else", token)
	}
	return token["access_token"]
}

var statusLine = regexp.MustCompile(`^HTTP/1\.1 (\d{3})`)

// curl sends one request, its path as it is written.
func curl(t testing.TB, s *server, path string, args ...string) (status int, header http.Header, body string) {
	t.Helper()
	out := must(t, "curl", append(args, "--silent", "--show-error", "--include", "--path-as-is", "--max-time", "30", s.url+path)...)
	head, body, _ := strings.Cut(out, "\r\n\r\n")
	header = http.Header{}
	for line := range strings.SplitSeq(head, "\r\n") {
		if match := statusLine.FindStringSubmatch(line); match != nil {
			fmt.Sscan(match[1], &status)
		} else if name, value, ok := strings.Cut(line, ": "); ok {
			header.Add(name, value)
		}
	}
	return status, header, body
}
