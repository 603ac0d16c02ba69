package registry

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"myregistry.azurecr.io":  "https://myregistry.azurecr.io",
		"MyRegistry.azurecr.io/": "https://myregistry.azurecr.io",
		"https://h:5000":         "https://h:5000",
		"http://127.0.0.1:5000":  "http://127.0.0.1:5000",
		"http://localhost:5000/": "http://localhost:5000",
		"http://[::1]:5000":      "http://[::1]:5000",
		"localhost:5000":         "https://localhost:5000",
		"contoso.azurecr.io:443": "https://contoso.azurecr.io",
		"http://localhost:80":    "http://localhost",
		"http://localhost:443":   "http://localhost:443",
		"https://[::1]:443":      "https://[::1]",
		"docker.io":              "https://registry-1.docker.io",
		"https://Docker.io/":     "https://registry-1.docker.io",
		"docker.io:8443":         "https://docker.io:8443",
	} {
		if got, err := parseEndpoint(text, false); err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v; want %s", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"":                        "not a host name",
		"https://":                "not a host name",
		"ftp://h":                 "write https://h",
		"https://h/repo":          "write https://h",
		"h/repo":                  "write https://h",
		"https://h?x=1":           "write https://h",
		"https://h#":              "write https://h",
		"https://me:hunter2@h":    "give the credentials apart",
		"me:hunter2@h":            "give the credentials apart",
		"http://registry.example": "write https://registry.example",
		"http://x.localhost":      "plain http is only allowed to loopback",
		"https://h:99999":         "not a host name",
		"https://h:":              "not a host name",
		"https://ho st":           "not a host name",
		"https://me:hunter2@%zz":  "not a host name",
	} {
		_, err := parseEndpoint(text, false)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want one saying %q", text, err, says)
		}
	}
	if _, err := parseEndpoint("http://registry.example", true); err != nil {
		t.Errorf("PlainHTTP: %v", err)
	}
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("myregistry.azurecr.io")
	f.Add("http://u:p@[::1]:80/x?y#z")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseEndpoint(text, false)
		if err != nil {
			return
		}
		if u.Host == "" || u.Path != "" || u.User != nil || u.RawQuery != "" || (u.Scheme == "http" && !isLoopback(u)) {
			t.Errorf("%q became %q", text, u)
		}
		if again, err := parseEndpoint(u.String(), false); err != nil || *again != *u {
			t.Errorf("%q is not stable: %v, %v", text, again, err)
		}
	})
}

func FuzzRef(f *testing.F) {
	f.Add("team/app", "v1", "")
	f.Add("../x", "a/b", "sha256:..")
	f.Fuzz(func(t *testing.T, repo, tag, d string) {
		ref := Ref{Repository: repo, Tag: tag}
		if ref.check("test") != nil {
			return
		}
		for _, part := range append(strings.Split(repo, "/"), tag) {
			if part == "." || part == ".." || (part == "" && part != tag) || strings.ContainsAny(part, "\x00/?#%\\") || (part != tag && part[0] == '_') {
				t.Errorf("%+v was accepted", ref)
			}
		}
	})
}
