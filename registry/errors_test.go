package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestErrorsKeepTheirKindAndReadWell(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		kind   error
		text   string
	}{
		{404, errorBody("NAME_UNKNOWN", `repository "team/app" is not found`), ErrNotFound, `list tags of team/app: 404 NAME_UNKNOWN: repository "team/app" is not found`},
		{404, "404 page not found\n", ErrNotFound, "list tags of team/app: 404: not found"},
		{401, errorBody("UNAUTHORIZED", "authentication required"), ErrDenied, "list tags of team/app: 401 UNAUTHORIZED: authentication required"},
		{403, "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>sig=secret</Message></Error>", ErrDenied, "list tags of team/app: 403 AuthenticationFailed"},
		{405, locked, ErrLocked, ""},
		{405, errorBody("UNSUPPORTED", "The operation is unsupported."), ErrUnsupported, ""},
		{400, errorBody("UNSUPPORTED", "no"), ErrUnsupported, ""},
		{429, "", ErrThrottled, "list tags of team/app: 429: too many requests"},
		{500, "<html>oops</html>", ErrUnavailable, "list tags of team/app: 500: internal server error"},
		{418, `{"details":"incorrect username or password"}`, ErrUnavailable, "list tags of team/app: 418: incorrect username or password"},
		{404, `{"errors":[{"code":"X\u202e","message":"a\u2066b\u200b\ufeffc\u2028"}]}`, ErrNotFound, "list tags of team/app: 404 X: abc"},
		{404, `{"errors":[{"code":"X","message":"line\nbreak\u001b[31m"}]}`, ErrNotFound, "list tags of team/app: 404 X: line break[31m"},
	} {
		err := fmt.Errorf("far away: %w", error(statusError("list tags of team/app", row.status, http.Header{}, []byte(row.body))))
		if !errors.Is(err, row.kind) {
			t.Errorf("%d %s: got %v, want %v", row.status, row.body, err, row.kind)
		}
		if row.text != "" && err.Error() != "far away: "+row.text {
			t.Errorf("got %q, want %q", err, row.text)
		}
	}
}

// TestSilenceIsNoAnswerAtAll, by which a caller tells a registry that is out of
// reach from one item of it that is broken.
func TestSilenceIsNoAnswerAtAll(t *testing.T) {
	f, realm := newPlain(t), newFake(t)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	at := func(path string, h http.HandlerFunc) string {
		f.on("GET /v2/"+path, h)
		f.on("HEAD /v2/"+path, h)
		return path
	}
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm.URL+`/`+r.URL.Path[len("/v2/"):len("/v2/x")]+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	realm.on("GET /a", cut)
	realm.on("GET /b", reply(503, ""))
	const noBody = "no body within the time"
	for name, row := range map[string]struct {
		path   string // of tags or of a manifest
		silent bool
	}{
		"connection cut": {at("r/tags/list", cut), true},
		"body that breaks off": {at("s/tags/list", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write([]byte("{"))
		}), false},
		noBody:                       {at("t/tags/list", func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-hang }), true},
		"silent token service":       {at("a/tags/list", elsewhere), true},
		"token service with a fault": {at("b/tags/list", elsewhere), false},
		"fault":                      {at("c/tags/list", reply(500, "")), false},
		"none of this name":          {at("d/tags/list", reply(404, "")), false},
		"not JSON":                   {at("e/tags/list", reply(200, "<html>")), false},
		"a Link that leads away":     {at("f/tags/list", reply(200, `{"tags":[]}`, "Link", `<http://elsewhere.example/>; rel="next"`)), false},
		"a longer manifest than any": {at("g/manifests/v1", reply(200, strings.Repeat(" ", maxManifest+1))), false},
		"a blob that tells no size":  {at("h/blobs/"+someDigest, func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush() }), false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, f.URL, func(c *Config) {
				if name == noBody {
					c.MetadataTimeout = 300 * time.Millisecond
				}
			})
			repo, what, _ := strings.Cut(row.path, "/")
			var err error
			switch what, _, _ := strings.Cut(what, "/"); what {
			case "tags":
				_, err = collect(c.Tags(t.Context(), repo, ListOptions{}))
			case "manifests":
				_, _, err = c.Manifest(t.Context(), Ref{Repository: repo, Tag: "v1"})
			default:
				_, err = c.BlobSize(t.Context(), repo, someDigest)
			}
			var ours *Error
			if !errors.As(err, &ours) || ours.Silent != row.silent || strings.Contains(err.Error(), "no answer from") != row.silent {
				t.Errorf("got %+v, want silent %v", err, row.silent)
			}
		})
	}
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte(errorBody("NAME_UNKNOWN", "m")))
	f.Add([]byte("<Error><Code>x</Code></Error>"))
	f.Add([]byte(`{"errors":[{"code":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := decodeError(body)
		if len(code) > 70 || len(message) > 520 || strings.ContainsFunc(code+message, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }) {
			t.Errorf("%q gave %q %q", body, code, message)
		}
	})
}
