package localacr_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// 2.2: which flag at which level blocks what. Each row is one flag switched
// off, and the operations that are then refused; all others must go through.
func TestLockMatrix(t *testing.T) {
	const repo, tag, manifest = "/acr/v1/a", "/acr/v1/a/_tags/v1", "/acr/v1/a/_manifests/"
	operations := []string{"pull tag", "look at tag", "pull digest", "pull other tag", "pull blob", "look at blob",
		"list repository", "list tag", "list manifest", "get properties",
		"re-push tag", "move tag", "push new tag", "re-push digest", "push new manifest", "upload blob", "delete blob",
		"delete tag", "delete other tag", "delete manifest", "delete repository"}
	for _, row := range []struct {
		level, flag string
		refused     string
	}{
		{repo, "writeEnabled", "re-push tag, move tag, push new tag, re-push digest, push new manifest, delete blob, delete tag, delete other tag, delete manifest, delete repository"},
		{repo, "deleteEnabled", "delete repository"},
		{repo, "readEnabled", "pull tag, look at tag, pull digest, pull other tag, pull blob, look at blob"},
		{repo, "listEnabled", "list repository"},
		{tag, "writeEnabled", "re-push tag, move tag, delete tag, delete manifest, delete repository"},
		{tag, "deleteEnabled", "delete tag, delete manifest, delete repository"},
		{tag, "readEnabled", "pull tag, look at tag"},
		{tag, "listEnabled", "list tag"},
		{manifest, "writeEnabled", "re-push digest, delete manifest, delete repository"},
		{manifest, "deleteEnabled", "delete manifest, delete repository"},
		{manifest, "readEnabled", "pull tag, look at tag, pull digest, pull other tag"},
		{manifest, "listEnabled", "list manifest"},
	} {
		t.Run(strings.Trim(row.level[len("/acr/v1/a"):]+"."+row.flag, "/"), func(t *testing.T) {
			r := start(t, localacr.Config{})
			body := r.image("a", typeManifest, "x")
			d := r.pushManifest("a", "v1", typeManifest, body)
			r.pushManifest("a", "other", typeManifest, body)
			level := row.level
			if level == manifest {
				level += d
			}
			r.do("PATCH", level, `{"`+row.flag+`":false}`).want(200)
			for _, op := range operations {
				got := r.attempt(op, d, body)
				want := "done"
				if strings.Contains(", "+row.refused+",", ", "+op+",") {
					want = "refused"
				}
				if got != want {
					t.Errorf("%s: %s, want %s", op, got, want)
				}
			}
			r.checked()
		})
	}
}

// A list leads clients that do not know lists to one of its images, and that
// one's lock holds on this way, too.
func TestReadLockOfAnImageBehindAList(t *testing.T) {
	r := start(t, localacr.Config{})
	body := r.image("a", typeDockerManifest, "x")
	d := r.pushManifest("a", "v1", typeDockerManifest, body)
	r.pushManifest("a", "list", typeDockerList, index(typeDockerList, child(typeDockerManifest, d, len(body), "amd64")))
	r.do("PATCH", "/acr/v1/a/_manifests/"+d, `{"readEnabled":false}`).want(200)
	r.do("GET", "/v2/a/manifests/list", "", "Accept: "+typeDockerList).want(200)
	for _, accept := range []string{typeDockerManifest, "*/*"} {
		r.do("GET", "/v2/a/manifests/list", "", "Accept: "+accept).want(405)
	}
}

// A manifest takes its referrers along, and theirs: a lock on any of them, or on
// their tags, keeps it.
func TestLockedReferrerKeepsItsSubject(t *testing.T) {
	r := start(t, localacr.Config{})
	subject := func(digest string) string {
		return fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, typeManifest, digest)
	}
	image := r.pushImage("a", "v1", "x")
	signature := r.pushManifest("a", "signature", typeManifest, r.image("a", typeManifest, "s", subject(image)))
	proof := r.pushManifest("a", "proof", typeManifest, r.image("a", typeManifest, "p", subject(signature)))
	for _, path := range []string{"/acr/v1/a/_manifests/" + proof, "/acr/v1/a/_tags/proof", "/acr/v1/a/_manifests/" + signature} {
		r.do("PATCH", path, `{"deleteEnabled":false}`).want(200)
		r.do("DELETE", "/v2/a/manifests/"+image, "").want(405)
		r.do("PATCH", path, `{"deleteEnabled":true}`).want(200)
	}
	r.do("GET", "/acr/v1/a/_tags/v1", "").want(200)
	r.do("DELETE", "/v2/a/manifests/"+image, "").want(202)
	r.do("GET", "/acr/v1/a", "").want(404)
	r.checked()
}

// attempt does one operation of the matrix, puts things back as they were, and
// says whether it was refused.
func (r *rig) attempt(op, d, body string) string {
	r.Helper()
	var got reply
	pull := func(ref string) reply {
		return r.do("GET", "/v2/a/manifests/"+ref, "", "Accept: "+typeManifest)
	}
	push := func(ref, body string) reply {
		return r.auth("PUT", "a", "/v2/a/manifests/"+ref, body, "Content-Type: "+typeManifest)
	}
	listed := func(list, name string) string {
		if strings.Contains(r.do("GET", list, "").want(200).body, `"`+name+`"`) {
			return "done"
		}
		return "refused"
	}
	switch op {
	case "pull tag":
		got = pull("v1")
	case "look at tag":
		if got = r.do("HEAD", "/v2/a/manifests/v1", "", "Accept: "+typeManifest); got.status == 405 {
			return "refused"
		}
	case "look at blob":
		if got = r.do("HEAD", "/v2/a/blobs/"+localacr.DigestOf("", []byte("x")), ""); got.status == 405 {
			return "refused"
		}
	case "get properties":
		for _, path := range []string{"/acr/v1/a", "/acr/v1/a/_tags/v1", "/acr/v1/a/_manifests/" + d} {
			got = r.do("GET", path, "").want(200)
		}
	case "upload blob":
		got = r.auth("POST", "a", "/v2/a/blobs/uploads/?digest="+localacr.DigestOf("", []byte("spare")), "spare")
	case "delete blob":
		got = r.do("DELETE", "/v2/a/blobs/"+localacr.DigestOf("", []byte("spare")), "")
	case "re-push tag":
		got = push("v1", body)
	case "pull digest":
		got = pull(d)
	case "pull other tag":
		got = pull("other")
	case "pull blob":
		got = r.fetch("a", localacr.DigestOf("", []byte("x")))
	case "list repository":
		return listed("/acr/v1/_catalog", "a")
	case "list tag":
		return listed("/acr/v1/a/_tags", "v1")
	case "list manifest":
		return listed("/acr/v1/a/_manifests", d)
	case "move tag":
		if got = push("v1", body+" "); got.status == 201 {
			push("v1", body).want(201)
		}
	case "push new tag":
		got = push("new", body)
	case "re-push digest":
		got = push(d, body)
	case "push new manifest":
		got = push("newer", body+"  ")
	case "delete tag", "delete other tag", "delete manifest", "delete repository":
		got = r.do("DELETE", map[string]string{
			"delete tag": "/acr/v1/a/_tags/v1", "delete other tag": "/acr/v1/a/_tags/other", "delete manifest": "/v2/a/manifests/" + d, "delete repository": "/acr/v1/a",
		}[op], "")
	}
	switch {
	case got.status == 405 && strings.Contains(got.body, "REGISTRY_DISALLOWED_OPERATION"):
		return "refused"
	case got.status >= 200 && got.status < 300, op == "delete repository" && got.status == 404, op == "delete manifest" && got.status == 404:
		return "done"
	}
	return fmt.Sprintf("%d %s", got.status, got.body)
}

// 2.1: a patch changes what it names, on a locked thing too, and no time.
func TestPatchMergesAndUnlocks(t *testing.T) {
	r := start(t, localacr.Config{})
	d := r.pushImage("a", "v1", "x")
	for _, path := range []string{"/acr/v1/a", "/acr/v1/a/_tags/v1", "/acr/v1/a/_manifests/" + d} {
		before := r.do("GET", path, "").want(200).body
		got := r.do("PATCH", path, `{"deleteEnabled":false,"writeEnabled":false}`).want(200).body
		got = strings.NewReplacer(`"deleteEnabled":false`, `"deleteEnabled":true`, `"writeEnabled":false`, `"writeEnabled":true`).Replace(got)
		if got != before {
			t.Errorf("more changed than was asked for:\n got %s\nwant %s", got, before)
		}
		r.do("PATCH", path, `{"listEnabled":false}`).want(200)
		after := r.do("GET", path, "").want(200).body
		if !strings.Contains(after, `"deleteEnabled":false,"writeEnabled":false,"readEnabled":true,"listEnabled":false`) {
			t.Error(after)
		}
		token := "Authorization: Bearer " + r.token("repository:a:metadata_write")
		r.raw("PATCH", path, "", token).says(200, after)
		r.raw("PATCH", path, `{"writeEnabled":"no"}`, token).want(400)
		r.raw("PATCH", path, `{"writeEnabled":true,"deleteEnabled":true,"listEnabled":true}`, token).says(200, before)
	}
	quarantine := `"listEnabled":true,"quarantineDetails":"{\"state\":\"ok\"}","quarantineState":"Passed"}`
	got := r.do("PATCH", "/acr/v1/a/_manifests/"+d, `{"quarantineState":"Passed","quarantineDetails":"{\"state\":\"ok\"}"}`).want(200)
	if !strings.Contains(got.body, quarantine) {
		t.Error(got.body)
	}
	if !strings.Contains(r.do("GET", "/acr/v1/a/_manifests", "").body, quarantine) ||
		strings.Contains(r.do("GET", "/acr/v1/a/_manifests?orderby=timedesc", "").body, "quarantine") {
		t.Error("the quarantine belongs into lists by name, and not into those by time")
	}
}

// 1.12: a patch of attributes that is shorter than it says changes nothing.
func TestShortPatchOfAttributes(t *testing.T) {
	r := start(t, localacr.Config{})
	r.pushImage("a", "v1", "x")
	conn, err := net.Dial("tcp", r.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH /acr/v1/a HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 30\r\n\r\n"+`{"writeEnabled":false}`,
		r.host, r.token("repository:a:*"))
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), `{"errors":[{"code":"CONTENT_LEN_INVALID",`) {
		t.Errorf("%s (%v)", answer, err)
	}
	if got := r.do("GET", "/acr/v1/a", "").want(200).body; !strings.Contains(got, `"writeEnabled":true`) {
		t.Error(got)
	}
}
