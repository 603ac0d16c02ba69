package localacr_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// The access log has one structured line per request, at debug level only, and
// no secret in it: no token, no password, no signed URL, no upload's state.
func TestAccessLog(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		var log syncBuffer
		r := start(t, localacr.Config{Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))})
		d := r.pushBlob("team/app", []byte("content"))
		at := r.auth("GET", "team/app", "/v2/team/app/blobs/"+d, "").want(307).header.Get("Location")
		r.raw("GET", at, "").says(200, "content")
		r.raw("GET", strings.Replace(at, "sig=", "sig=A", 1), "").want(403)
		r.raw("GET", "/v2/team%2Fapp/tags/list?last=x", "", "Authorization: Basic YW55b25lOmh1bnRlcjI=").want(404)
		r.raw("GET", "/nowhere", "").want(404)
		token := r.token("repository:team/app:*")
		if err := r.Close(); err != nil { // after the last line
			t.Fatal(err)
		}
		text := log.String()
		if level > slog.LevelDebug {
			if text != "" {
				t.Errorf("at level %v it says:\n%s", level, text)
			}
			continue
		}
		signed, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{token, "YW55b25lOmh1bnRlcjI", "hunter2", signed.Query().Get("sig"), "sig=", "_state="} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the log:\n%s", secret, text)
			}
		}
		var got []string
		for line := range strings.Lines(text) {
			var record struct {
				Msg, Method, Path, Remote string
				Status                    int
				Bytes, Took               *int64
			}
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatal(err)
			}
			if record.Msg != "request" || record.Remote == "" || record.Bytes == nil || record.Took == nil {
				t.Errorf("a line says %s", line)
			}
			path, _, _ := strings.Cut(record.Path, "/uploads/")
			got = append(got, fmt.Sprint(record.Method, " ", path, " ", record.Status))
		}
		want := []string{
			"POST /oauth2/token 200", "POST /v2/team/app/blobs 202", "PATCH /v2/team/app/blobs 202", "PUT /v2/team/app/blobs 201",
			"GET /v2/team/app/blobs/" + d + " 307", "GET " + signed.EscapedPath() + " 200", "GET " + signed.EscapedPath() + " 403",
			"GET /v2/team%2Fapp/tags/list 404", "GET /nowhere 404",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}
