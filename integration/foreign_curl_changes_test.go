package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignCurlReplaysChanges sends, with curl and one after the other, the
// requests of an upload, of locks and of deletions as they were recorded from
// the real service, and compares the answers with those recorded.
func TestForeignCurlReplaysChanges(t *testing.T) {
	needTools(t, "curl")
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "team/app", "v1", chart)
	token := curlToken(t, s, "repository:team/app:*")
	blob := digest.FromString("hello world").String()
	const locked = `{"errors":[{"code":"REGISTRY_DISALLOWED_OPERATION","message":"The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation","detail":{}}]}` + "\n"
	const free = `"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}`
	const uploads, rest = "/v2/team%2Fapp/blobs/uploads/", "LOCATION" // of the answer before
	tag := func(attributes string) string {
		return fmt.Sprintf(`{"registry":%q,"imageName":"team/app","tag":{"name":"v1","digest":%q,"createdTime":"TIME","lastUpdateTime":"TIME","signed":false,%s}}`+"\n", s.host(), chart.Digest, attributes)
	}
	var location string
	for _, row := range []struct {
		name    string
		request string // method and path
		send    string // body
		header  string // sent along
		status  int
		has     string // a header of the answer; with nothing behind its name, it must be missing
		body    string // "" is none
	}{
		{"start", "POST " + uploads, "", "", 202, "Range: 0-0", ""},
		{"a malformed range", "PATCH " + rest, "hello", "Content-Range: bytes 0-4/11", 416, "Www-Authenticate: ",
			`{"errors":[{"code":"BLOB_UPLOAD_RANGE_INVALID","message":"blob upload range invalid","detail":{"Range":"-1--1","Reason":"the Content-Range header format is invalid"}}]}` + "\n"},
		{"the same address again", "PATCH " + rest, "hello", "Content-Range: 0-4", 202, "Range: 0-4", ""},
		{"status", "GET " + rest, "", "", 204, "Range: 0-4", ""},
		{"a second chunk", "PATCH " + rest, " world", "Content-Range: 5-10", 202, "Range: 0-10", ""},
		{"a digest that is none", "PUT " + rest + "&digest=wrong", "", "", 400, "Content-Type: application/json; charset=utf-8",
			`{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content","detail":"digest parsing failed"}]}` + "\n"},
		{"finish", "PUT " + rest + "&digest=" + strings.Replace(blob, ":", "%3A", 1), "", "", 201, "Location: /v2/team/app/blobs/" + blob, ""},
		{"another one", "POST " + uploads, "", "", 202, "Range: 0-0", ""},
		{"cancel", "DELETE " + rest, "", "", 204, "Location: ", ""},
		{"a cancelled one", "GET " + rest, "", "", 404, "Docker-Distribution-Api-Version: registry/2.0",
			`{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry","detail":{}}]}` + "\n"},
		{"mount", "POST " + uploads + "?mount=" + blob + "&from=team/app", "", "", 201, "Docker-Content-Digest: " + blob, ""},
		{"lock a tag", "PATCH /acr/v1/team%2Fapp/_tags/v1", `{"deleteEnabled":false}`, "Content-Type: application/json", 200, "Content-Type: application/json; charset=utf-8",
			tag(strings.Replace(free, `"deleteEnabled":true`, `"deleteEnabled":false`, 1))},
		{"delete what is locked", "DELETE /acr/v1/team%2Fapp/_tags/v1", "", "", 405, "Content-Length: 263", locked},
		{"unlock it", "PATCH /acr/v1/team%2Fapp/_tags/v1", `{"deleteEnabled":true}`, "Content-Type: application/json", 200, "Content-Type: application/json; charset=utf-8", tag(free)},
		{"delete a tag", "DELETE /acr/v1/team%2Fapp/_tags/v1", "", "", 202, "X-Ms-Int-Docker-Content-Digest: " + chart.Digest.String(), ""},
		{"delete a manifest", "DELETE /v2/team%2Fapp/manifests/" + chart.Digest.String(), "", "", 202, "Content-Length: 0", ""},
		{"delete it again", "DELETE /v2/team%2Fapp/manifests/" + chart.Digest.String(), "", "", 404, "Www-Authenticate: ",
			fmt.Sprintf(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest %s is not found"}]}`+"\n", chart.Digest)},
		{"delete a blob", "DELETE /v2/team%2Fapp/blobs/" + blob, "", "", 202, "Content-Length: 0", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			method, path, _ := strings.Cut(strings.Replace(row.request, rest, location, 1), " ")
			args := []string{"--request", method, "--header", "Authorization: Bearer " + token}
			if row.send != "" {
				args = append(args, "--data-binary", row.send)
			}
			if !strings.HasPrefix(row.header, "Content-Type") {
				args = append(args, "--header", "Content-Type: application/octet-stream")
			}
			if row.header != "" {
				args = append(args, "--header", row.header)
			}
			status, header, body := curl(t, s, path, args...)
			if status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			name, want, _ := strings.Cut(row.has, ": ")
			if got := header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			if diff := cmp.Diff(row.body, recordedTime.ReplaceAllString(body, `"TIME"`)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if at := header.Get("Location"); at != "" && status != 201 {
				location = at
			}
		})
	}
}

// recordedTime is how the service writes times.
var recordedTime = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z"`)
