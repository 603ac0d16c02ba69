package localacr_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// names reads the items of a list's page.
func names(t testing.TB, body string) (out []string) {
	t.Helper()
	var doc struct {
		Repositories []string
		Tags         json.RawMessage
		Manifests    []struct{ Digest string }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	out = doc.Repositories
	for _, m := range doc.Manifests {
		out = append(out, m.Digest)
	}
	if doc.Tags == nil {
		return out
	}
	if json.Unmarshal(doc.Tags, &out) == nil && (len(out) == 0 || out[0] != "") {
		return out
	}
	var tags []struct{ Name string }
	if err := json.Unmarshal(doc.Tags, &tags); err != nil {
		t.Fatal(err)
	}
	out = nil
	for _, tag := range tags {
		out = append(out, tag.Name)
	}
	return out
}

var nextLink = regexp.MustCompile(`^<(/[^>]*)>; rel="next"$`)

// walk follows a list to its end and returns its pages.
func (r *rig) walk(target string) (pages [][]string) {
	r.Helper()
	for target != "" {
		got := r.do("GET", target, "").want(200)
		pages = append(pages, names(r, got.body))
		if len(pages) > 1000 {
			r.Fatal("the list has no end")
		}
		target = ""
		if link := got.header.Get("Link"); link != "" {
			m := nextLink.FindStringSubmatch(link)
			if m == nil {
				r.Fatalf("link %q", link)
			}
			target = m[1]
		}
	}
	return pages
}

func TestPages(t *testing.T) {
	r := start(t, localacr.Config{})
	manifest := r.image("team/app", typeManifest, "x")
	var digests, tags []string
	for i := range 7 {
		// Each is a manifest of its own, and its tag's name runs against time.
		tag := fmt.Sprintf("t%d", 9-i)
		digests = append(digests, r.pushManifest("team/app", tag, typeManifest, manifest+strings.Repeat(" ", i)))
		tags = append(tags, tag)
	}
	reversed := func(s []string) []string { s = slices.Clone(s); slices.Reverse(s); return s }
	for target, want := range map[string][]string{
		"/acr/v1/team%2Fapp/_tags":                     reversed(tags),
		"/v2/team/app/tags/list":                       reversed(tags),
		"/acr/v1/team%2Fapp/_tags?orderby=none":        reversed(tags),
		"/acr/v1/team%2Fapp/_tags?orderby=timeasc":     tags,
		"/acr/v1/team%2Fapp/_tags?orderby=timedesc":    reversed(tags),
		"/acr/v1/team/app/_manifests":                  slices.Sorted(slices.Values(digests)),
		"/acr/v1/team/app/_manifests?orderby=timeasc":  digests,
		"/acr/v1/team/app/_manifests?orderby=timedesc": reversed(digests),
	} {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		for n := 1; n <= 8; n++ {
			pages := r.walk(fmt.Sprintf("%s%sn=%d", target, sep, n))
			if got := slices.Concat(pages...); !slices.Equal(got, want) {
				t.Errorf("%s in pages of %d:\n got %v\nwant %v", target, n, got, want)
			}
			if wantPages := (7 + n - 1) / n; len(pages) != wantPages {
				t.Errorf("%s in pages of %d: %d pages, want %d", target, n, len(pages), wantPages)
			}
		}
	}
	// 1.0: the literal form of the link.
	r.do("GET", "/acr/v1/team%2Fapp/_tags?n=2&api-version=2021-07-01", "").want(200).
		has(`Link: </acr/v1/team%2Fapp/_tags?last=t4&n=2&orderby=>; rel="next"`)
	r.do("GET", "/acr/v1/team%2Fapp/_tags?orderby=timedesc&last=t6&n=1", "").want(200).
		has(`Link: </acr/v1/team%2Fapp/_tags?last=t7&n=1&orderby=timedesc>; rel="next"`)
	for _, n := range []string{"0", "-1", "x"} {
		r.do("GET", "/acr/v1/_catalog?n="+n, "").want(400)
	}
	r.do("GET", "/acr/v1/team/app/_tags?n=0", "").want(400)
	r.do("GET", "/v2/team/app/tags/list?n=0", "").says(200, `{"name":"team/app","tags":[]}`+"\n").has("Link: ")
	// The digest filter goes on over pages.
	r.pushManifest("team/app", "t0", typeManifest, manifest)
	if got := slices.Concat(r.walk("/acr/v1/team/app/_tags?n=1&digest=" + digests[0])...); !slices.Equal(got, []string{"t0", "t9"}) {
		t.Errorf("tags of one digest: %v", got)
	}
	r.checked()
}

func TestCatalogPages(t *testing.T) {
	r := start(t, localacr.Config{})
	for _, repo := range []string{"library/busybox", "base", "library/busybox/extra", "zoo"} {
		r.pushImage(repo, "v1", "x")
	}
	r.do("GET", "/acr/v1/_catalog?n=3", "").says(200, `{"repositories":["base","library/busybox","library/busybox/extra"]}`+"\n").
		has(`Link: </acr/v1/_catalog?last=library%2Fbusybox%2Fextra&n=3&orderby=>; rel="next"`)
	r.do("GET", "/v2/_catalog?n=2", "").want(200).has(`Link: </v2/_catalog?last=library%2Fbusybox&n=2&orderby=>; rel="next"`)
	r.do("GET", "/acr/v1/_catalog?n=4", "").want(200).has("Link: ")
	empty := start(t, localacr.Config{})
	empty.do("GET", "/acr/v1/_catalog", "").says(200, `{"repositories":[]}`+"\n")
}

// A purge deletes the page that it holds and goes on with the next.
func TestListByTimeGoesOnWhenItsCursorIsDeleted(t *testing.T) {
	r := start(t, localacr.Config{})
	manifest := r.image("a", typeManifest, "x")
	for i := range 6 {
		r.pushManifest("a", fmt.Sprintf("t%d", i), typeManifest, manifest)
	}
	got := r.do("GET", "/acr/v1/a/_tags?orderby=timedesc&n=2", "").want(200)
	for _, tag := range names(t, got.body) {
		r.do("DELETE", "/acr/v1/a/_tags/"+tag, "").want(202)
	}
	next := nextLink.FindStringSubmatch(got.header.Get("Link"))
	if next == nil {
		t.Fatal(got.header)
	}
	if rest := slices.Concat(r.walk(next[1])...); !slices.Equal(rest, []string{"t3", "t2", "t1", "t0"}) {
		t.Errorf("after the deletion: %v", rest)
	}
	// A cursor that never was is an error, and not the end of the list.
	r.do("GET", "/acr/v1/a/_tags?orderby=timedesc&last=never", "").want(404)
}

func TestDefaultAndLargestPage(t *testing.T) {
	r := start(t, localacr.Config{})
	r.crowd("a", 1001)
	for _, list := range []string{"/acr/v1/a/_tags", "/v2/a/tags/list"} {
		for query, want := range map[string]struct {
			n    int
			last string
		}{"": {100, "t000099"}, "?n=1000": {1000, "t000999"}, "?n=1001": {1000, "t000999"}, "?n=100000": {1000, "t000999"}} {
			got := r.do("GET", list+query, "").want(200).has(fmt.Sprintf(`Link: <%s?last=%s&n=%d&orderby=>; rel="next"`, list, want.last, want.n))
			if n := len(names(t, got.body)); n != want.n {
				t.Errorf("%s%s: %d tags on a page, want %d", list, query, n, want.n)
			}
		}
	}
	if n := len(names(t, r.do("GET", "/acr/v1/a/_manifests?n=2000", "").want(200).body)); n != 1000 {
		t.Errorf("%d manifests on a page, want 1000", n)
	}
}

func TestReferrers(t *testing.T) {
	r := start(t, localacr.Config{})
	image := r.image("a", typeManifest, "x")
	d := r.pushManifest("a", "v1", typeManifest, image)
	none := `{"schemaVersion":2,"mediaType":"` + typeIndex + `","manifests":[]}` + "\n"
	r.do("GET", "/v2/a/referrers/"+d, "").says(200, none).has("Content-Type: " + typeIndex)
	r.do("GET", "/v2/nowhere/referrers/"+d, "").says(200, none)

	subject := fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, typeManifest, d, len(image))
	sbom := r.image("a", typeManifest, "sbom", `,"artifactType":"application/spdx+json"`, subject, `,"annotations":{"k":"v"}`)
	got := r.auth("PUT", "a", "/v2/a/manifests/"+localacr.DigestOf("", []byte(sbom)), sbom, "Content-Type: "+typeManifest).want(201).has("OCI-Subject: " + d)
	s := got.header.Get("Docker-Content-Digest")
	sig := r.image("a", typeManifest, "signature", subject)
	g := r.pushManifest("a", localacr.DigestOf("", []byte(sig)), typeManifest, sig)

	entry := map[string]string{
		s: fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"application/spdx+json","annotations":{"k":"v"}}`, typeManifest, s, len(sbom)),
		g: fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"application/vnd.oci.image.config.v1+json"}`, typeManifest, g, len(sig)),
	}
	first, second := min(s, g), max(s, g)
	r.do("GET", "/v2/a/referrers/"+d, "").says(200, strings.Replace(none, "[]", "["+entry[first]+","+entry[second]+"]", 1)).has("OCI-Filters-Applied: ")
	r.do("GET", "/v2/a/referrers/"+d+"?artifactType=application/spdx%2Bjson", "").says(200, strings.Replace(none, "[]", "["+entry[s]+"]", 1)).
		has("OCI-Filters-Applied: artifactType")
	r.do("GET", "/v2/a/referrers/"+d+"?n=1", "").says(200, strings.Replace(none, "[]", "["+entry[first]+"]", 1)).
		has(`Link: </v2/a/referrers/` + d + `?last=` + strings.Replace(first, ":", "%3A", 1) + `&n=1&orderby=>; rel="next"`)
	if all := slices.Concat(r.walk("/v2/a/referrers/" + d + "?n=1")...); !slices.Equal(all, []string{first, second}) {
		t.Error(all)
	}
	// The filter goes on over pages.
	const configType = "application/vnd.oci.image.config.v1+json"
	more := r.image("a", typeManifest, "another signature", subject)
	m := r.pushManifest("a", localacr.DigestOf("", []byte(more)), typeManifest, more)
	if all := slices.Concat(r.walk("/v2/a/referrers/" + d + "?n=1&artifactType=" + url.QueryEscape(configType))...); !slices.Equal(all, []string{min(g, m), max(g, m)}) {
		t.Errorf("signatures in pages of one: %v", all)
	}
	// A subject may be missing, and a deleted one takes its referrers along.
	ghost := r.image("a", typeManifest, "ghost", fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, typeManifest, zeros))
	r.pushManifest("a", "ghost", typeManifest, ghost)
	if all := names(t, r.do("GET", "/v2/a/referrers/"+zeros, "").want(200).body); len(all) != 1 {
		t.Error(all)
	}
	r.checked()
	r.do("DELETE", "/v2/a/manifests/"+d, "").says(202, "")
	r.do("GET", "/v2/a/manifests/"+s, "", "Accept: "+acceptAll).want(404)
	if all := slices.Concat(r.walk("/acr/v1/a/_manifests")...); len(all) != 1 {
		t.Errorf("left: %v", all)
	}
	r.checked()
}

// 1.10: without the referrers API its address is not known, and a push does not
// say that the registry keeps its subject. What clients do then is the business
// of TestForeignORASKeepsReferrersItself.
func TestNoReferrers(t *testing.T) {
	r := start(t, localacr.Config{NoReferrers: true})
	image := r.image("a", typeManifest, "x", fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, typeManifest, zeros))
	r.auth("PUT", "a", "/v2/a/manifests/v1", image, "Content-Type: "+typeManifest).says(201, "").has("OCI-Subject: ")
	r.raw("GET", "/v2/a/referrers/"+zeros, "").says(404, "404 page not found\n")
}

// 5.4: lists that lag show what was there, in every order and with its Link,
// until they show what is; a thing by its name is never late.
func TestListsLag(t *testing.T) {
	const lag = 500 * time.Millisecond
	r := start(t, localacr.Config{ListLag: lag})
	body := r.image("a", typeManifest, "x")
	pushed := time.Now()
	d := r.pushManifest("a", "v1", typeManifest, body)
	r.pushManifest("a", "v2", typeManifest, body)
	lists := map[string]string{
		"/acr/v1/_catalog": `"a"`, "/acr/v1/a/_tags": `"v1"`, "/acr/v1/a/_tags?orderby=timedesc&n=1": `"v2"`,
		"/v2/a/tags/list?n=1": `"v1"`, "/acr/v1/a/_manifests": d,
	}
	// follow waits until all lists have their item, or have it not. None may
	// before the lag is over.
	follow := func(want bool, since time.Time) {
		t.Helper()
		for late, end := true, time.Now().Add(10*time.Second); late; {
			late = false
			for list, item := range lists {
				got := r.do("GET", list, "")
				now := time.Now()
				if shown := got.status == 200 && strings.Contains(got.body, item); shown != want {
					late = true
				} else if now.Sub(since) < lag {
					t.Fatalf("%s shows the change after %v", list, now.Sub(since))
				}
			}
			if time.Now().After(end) {
				t.Fatalf("the lists never show the change")
			}
		}
	}
	r.do("GET", "/acr/v1/a/_tags/v1", "").want(200)
	if got := r.do("GET", "/acr/v1/a/_tags", ""); got.status != 404 && time.Since(pushed) < lag {
		t.Errorf("a repository of a moment ago is listed: %s", got.body)
	}
	follow(true, pushed)
	// All at once, so that one moment counts for all lists.
	deleted := time.Now()
	r.do("DELETE", "/acr/v1/a", "").want(202)
	r.do("GET", "/acr/v1/a", "").want(404)
	got := r.do("GET", "/v2/a/tags/list?n=1", "")
	if link := `</v2/a/tags/list?last=v1&n=1&orderby=>; rel="next"`; got.header.Get("Link") != link && time.Since(deleted) < lag {
		t.Errorf("the list of what is deleted: %d %s", got.status, got.header)
	}
	follow(false, deleted)
	r.checked()
}

// A server that remembers the past lets go of it when it is closed.
func TestCloseDoesNotWaitForTheLag(t *testing.T) {
	root := freshRoot(t)
	for range 2 { // the second finds the directory free
		s, err := localacr.Open(localacr.Config{Root: root, ListLag: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, s)
		r.pushImage("a", "v1", "x")
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the server is still closing")
		}
	}
}
