package registry

import (
	"net/url"
	"testing"
)

func TestNextLink(t *testing.T) {
	for _, row := range []struct{ header, want string }{
		{`</acr/v1/_catalog?last=library%2Fbusybox&n=2&orderby=>; rel="next"`, "/acr/v1/_catalog?last=library%2Fbusybox&n=2&orderby="},
		{`</a,b;c>; rel=next`, "/a,b;c"},
		{`</p>; rel="prev", </n>; rel="next"`, "/n"},
		{`</p>; rel=prev; title="x, <y>; rel=next"`, ""},
		{`</n>; REL=Next`, "/n"},
		{`</n>`, "/n"},
		{`<>; rel=next`, ""},
		{`</n; rel=next`, ""},
		{`rel=next`, ""},
	} {
		if got := nextLink([]string{row.header}); got != row.want {
			t.Errorf("%s: got %q, want %q", row.header, got, row.want)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add(`</v2/_catalog?last=x&n=2>; rel="next"`)
	f.Add(`<//evil/x>; rel="next", <http://u:p@h/>`)
	page := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/_catalog"}
	f.Fuzz(func(t *testing.T, header string) {
		link := nextLink([]string{header})
		if link == "" {
			return
		}
		next, problem := resolveNext(page, link)
		if problem == "" && (next.Scheme != "https" || !sameOrigin(page, next) || next.User != nil) {
			t.Errorf("%q leads to %q", header, next)
		}
	})
}
