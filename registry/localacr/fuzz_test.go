package localacr_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// Whatever a path is, what comes out of it is within the grammar: nothing
// that could leave a folder or end a key early.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/v2/", "/acr/v1/library%2Fhello-world/_tags/v1", "/v2/a/blobs/sha256%3A" + strings.Repeat("0", 64), "/v2/a/blobs/uploads/",
		"/x//docker/registry/v2/blobs/sha256/00/" + strings.Repeat("0", 64) + "/data", "/v2/a%2F..%2Fb/manifests/x", "/acr/v1/_deleted/a/_tags", "/v2/%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		_, name, ref, ok := localacr.ParseRoute(path)
		if !ok {
			return
		}
		for _, s := range []string{name, ref} {
			if strings.ContainsAny(s, "\x00\\%") || strings.Contains(s, "..") && s == name || strings.HasPrefix(s, "/") || len(s) > 255 {
				t.Errorf("%q became %q and %q", path, name, ref)
			}
		}
		if strings.Contains(ref, "/") || name != strings.ToLower(name) {
			t.Errorf("%q became %q and %q", path, name, ref)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-9", "bytes=5-", "bytes=-5", "bytes=9-1", "bytes=0-1,3-4", "bytes=99999999999999999999-", "0-", "bytes=--1"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		for _, suffixes := range []bool{false, true} {
			start, n, status := localacr.ParseRange(header, size, suffixes)
			if start < 0 || n < 0 || start+n > size || start+n < start {
				t.Errorf("%q of %d: %d+%d", header, size, start, n)
			}
			switch status {
			case http.StatusOK:
				if start != 0 || n != size {
					t.Errorf("%q of %d is whole, and %d+%d", header, size, start, n)
				}
			case http.StatusPartialContent:
				if n == 0 {
					t.Errorf("%q of %d is a part of no bytes", header, size)
				}
			case http.StatusRequestedRangeNotSatisfiable:
			default:
				t.Errorf("%q of %d: status %d", header, size, status)
			}
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"0-9", "bytes 0-9/10", "9-0", "-1--1", "+1-2", "0x1-2", "99999999999999999999-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		start, end, ok := localacr.ParseContentRange(header)
		if ok && (start < 0 || end < start || strings.ContainsAny(header, "+ xb/")) {
			t.Errorf("%q: %d-%d", header, start, end)
		}
	})
}

// Only the registry's own states are states.
func FuzzUploadState(f *testing.F) {
	s, err := localacr.Open(localacr.Config{Root: freshRoot(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	w := httptest.NewRecorder()
	req := httptest.NewRequest("POST", "/v2/a/blobs/uploads/", nil)
	req.SetBasicAuth("a", "b")
	s.ServeHTTP(w, req)
	at, err := url.Parse(w.Header().Get("Location"))
	if err != nil || !s.ReadState(at.Query().Get("_state")) {
		f.Fatalf("%d %v %v", w.Code, w.Header(), err)
	}
	genuine, err := base64.URLEncoding.DecodeString(at.Query().Get("_state"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", 0, byte(0))
	f.Add("AAAA", 40, byte(1))
	f.Fuzz(func(t *testing.T, state string, at int, flip byte) {
		if s.ReadState(state) && state != base64.URLEncoding.EncodeToString(genuine) {
			t.Errorf("%q was taken", state)
		}
		if flip != 0 && at >= 0 {
			changed := []byte(string(genuine))
			changed[at%len(changed)] ^= flip
			if s.ReadState(base64.URLEncoding.EncodeToString(changed)) {
				t.Errorf("a state with byte %d changed was taken", at%len(changed))
			}
		}
	})
}

func FuzzScopes(f *testing.F) {
	for _, s := range []string{"repository:a:pull", "repository:a:pull,push registry:catalog:*", "a:b", ":::", "repository:localhost:5000/a:pull"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if n := localacr.ParseScopes(field); n > 256 || n > len(field) {
			t.Errorf("%d scopes in %q", n, field)
		}
	})
}

// A manifest that is taken has the digest that was asked for.
func FuzzManifest(f *testing.F) {
	f.Add(typeManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"`+zeros+`","size":1},"layers":[]}`))
	f.Add(typeIndex, []byte(`{"manifests":[{"digest":"`+zeros+`"}],"subject":{"digest":"`+zeros+`"}}`))
	f.Add(typeSchema1, []byte(`{"signatures":[{"protected":"eyJmb3JtYXRMZW5ndGgiOjEsImZvcm1hdFRhaWwiOiIifQ"}]}`))
	f.Add("x/y", []byte(`{"layers":"other"}`))
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		d, err := localacr.ParseManifest(mediaType, data, "")
		if err != nil {
			return
		}
		if again, err := localacr.ParseManifest(mediaType, data, d); err != nil || again != d {
			t.Errorf("%s became %s (%v)", d, again, err)
		}
		if _, err := localacr.ParseManifest(mediaType, data, zeros); err == nil && d != zeros {
			t.Error("another digest was taken")
		}
	})
}

// The official SDK decodes payloads with the standard alphabet.
func FuzzTokenPayload(f *testing.F) {
	for _, s := range []string{"plain", "a?b~c>d", "snow ☃", "\U0001F433", "\x7f\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		document, err := json.Marshal(map[string]string{"sub": s})
		if err != nil {
			t.Fatal(err)
		}
		plain := localacr.PlainBase64(document)
		if encoded := base64.RawURLEncoding.EncodeToString(plain); strings.ContainsAny(encoded, "-_") {
			t.Errorf("%q gives %s", s, encoded)
		}
		var want, got map[string]string
		if json.Unmarshal(document, &want) != nil || json.Unmarshal(plain, &got) != nil || want["sub"] != got["sub"] {
			t.Errorf("%q became %q", want["sub"], got["sub"])
		}
	})
}

// A database is not to be trusted either: a damaged record is an error, and a
// good one is written as it was read.
func FuzzRecord(f *testing.F) {
	for _, data := range localacr.Records() {
		if again := localacr.Decode(data); len(again) != 1 || !bytes.Equal(again[0], data) {
			f.Errorf("%q became %q", data, again)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, again := range localacr.Decode(data) {
			if third := localacr.Decode(again); !slices.ContainsFunc(third, func(b []byte) bool { return bytes.Equal(b, again) }) {
				t.Errorf("%q became %q and then %q", data, again, third)
			}
		}
	})
}
