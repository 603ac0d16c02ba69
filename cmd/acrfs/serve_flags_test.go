package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// anyone is a client that knows nothing but HTTP, and logs in as nobody.
type anyone struct {
	*testing.T
	url string
}

// received is an answer, read to its end.
type received struct {
	*http.Response
	body string
}

func (a anyone) send(req *http.Request) received {
	a.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Fatal(err)
	}
	return received{resp, string(body)}
}

// login returns a token for all of repo, and until when it is good.
func (a anyone) login(repo string) (token string, ends time.Time) {
	a.Helper()
	host := strings.TrimPrefix(a.url, "http://")
	form := url.Values{"grant_type": {"password"}, "service": {host}, "scope": {"repository:" + repo + ":*"}}
	req, err := http.NewRequest("POST", a.url+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		a.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got := a.send(req)
	var doc struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || doc.Token == "" {
		a.Fatalf("login: %s %q", got.Status, got.body)
	}
	var claims struct{ Exp int64 }
	if err := claimsOf(doc.Token, &claims); err != nil {
		a.Fatal(err)
	}
	return doc.Token, time.Unix(claims.Exp, 0)
}

// ask sends a request with a token for all of repo.
func (a anyone) ask(method, repo, path, body string) received {
	a.Helper()
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	token, _ := a.login(repo)
	req.Header.Set("Authorization", "Bearer "+token)
	return a.send(req)
}

// upload pushes a blob in one request and returns its path.
func (a anyone) upload(repo, content string) (path string, got received) {
	a.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	return "/v2/" + repo + "/blobs/" + digest, a.ask("POST", repo, "/v2/"+repo+"/blobs/uploads/?digest="+digest, content)
}

func (got received) want(t *testing.T, status int) received {
	t.Helper()
	if got.StatusCode != status {
		t.Fatalf("%s %s: got %s %q, want %d", got.Request.Method, got.Request.URL.Path, got.Status, got.body, status)
	}
	return got
}

func TestServeRedirectsBlobsToStorage(t *testing.T) {
	for _, row := range []struct {
		flags []string
		host  string // of the redirect; "" : none
	}{
		{nil, "localhost"},
		{[]string{"--storage-host", "storage.example:1234"}, "storage.example"},
		{[]string{"--direct-blobs"}, ""},
	} {
		t.Run(strings.Join(row.flags, " "), func(t *testing.T) {
			_, url := serveSeeded(t, row.flags...)
			a := anyone{t, url}
			path, got := a.upload("a", "content")
			got.want(t, http.StatusCreated)
			got = a.ask("GET", "a", path, "")
			if row.host == "" {
				if got.want(t, http.StatusOK); got.body != "content" {
					t.Errorf("got %q", got.body)
				}
				return
			}
			at, err := got.want(t, http.StatusTemporaryRedirect).Location()
			if err != nil || at.Hostname() != row.host {
				t.Errorf("redirected to %v, %v, want host %s", at, err, row.host)
			}
		})
	}
}

func TestServeTokenLife(t *testing.T) {
	_, url := serveSeeded(t, "--token-life", "42s")
	begin := time.Now().Truncate(time.Second)
	_, ends := anyone{t, url}.login("a")
	if ends.Before(begin.Add(42*time.Second)) || ends.After(time.Now().Add(42*time.Second)) {
		t.Errorf("a token asked for at %v ends at %v, want 42 s later", begin, ends)
	}
}

func TestServeReadOnly(t *testing.T) {
	_, url := serveSeeded(t, "--read-only")
	a := anyone{t, url}
	a.ask("GET", "library/hello-world", "/v2/library/hello-world/tags/list", "").want(t, http.StatusOK)
	_, got := a.upload("a", "content")
	got.want(t, http.StatusMethodNotAllowed)
	a.ask("DELETE", "models/tiny", "/acr/v1/models/tiny", "").want(t, http.StatusMethodNotAllowed)
}

func TestServeBandwidth(t *testing.T) {
	const size = 256 << 10
	_, url := serveSeeded(t, "--bandwidth", "1MiB", "--direct-blobs")
	a := anyone{t, url}
	for _, way := range []string{"up", "down"} {
		begin := time.Now()
		path, got := a.upload("a", strings.Repeat(way[:1], size))
		got.want(t, http.StatusCreated)
		if way == "down" {
			begin = time.Now()
			a.ask("GET", "a", path, "").want(t, http.StatusOK)
		}
		if took := time.Since(begin); took < 150*time.Millisecond {
			t.Errorf("%s: 256 KiB at 1 MiB/s took %v", way, took)
		}
	}
}

func TestServeListLag(t *testing.T) {
	const lag = 300 * time.Millisecond
	_, url := serveSeeded(t, "--list-lag", lag.String())
	a := anyone{t, url}
	const repo = "models/tiny"
	list := func() string { return a.ask("GET", repo, "/v2/"+repo+"/tags/list", "").body }
	eventually(t, "listing the samples", func() bool { return strings.Contains(list(), `"latest"`) })
	begin := time.Now()
	a.ask("DELETE", repo, "/acr/v1/"+repo+"/_tags/latest", "").want(t, http.StatusAccepted)
	a.ask("GET", repo, "/acr/v1/"+repo+"/_tags/latest", "").want(t, http.StatusNotFound)
	eventually(t, "listing the deletion", func() bool { return !strings.Contains(list(), `"latest"`) })
	if took := time.Since(begin); took < lag {
		t.Errorf("the list shows a deletion after %v, want no earlier than %v", took, lag)
	}
}

// --gc collects at the start what is old enough, and nothing else does.
func TestServeCollectsAtItsStart(t *testing.T) {
	root := t.TempDir()
	stale := filepath.Join(root, "blobs", "sha256", "00", strings.Repeat("0", 64))
	for _, row := range []struct {
		flags []string
		kept  bool
	}{{nil, true}, {[]string{"--gc"}, false}} {
		if err := os.MkdirAll(filepath.Dir(stale), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(stale, []byte("nobody's"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(stale, time.Time{}, time.Now().Add(-24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		p := start(t, command(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--root", root}, row.flags...)...))
		p.until("next:")
		if !row.kept {
			eventually(t, "collecting", func() bool { return strings.Contains(p.stderr.String(), "msg=collected") })
		}
		if status := p.stop(syscall.SIGTERM); status != exitDone {
			t.Errorf("exit status %d, want %d", status, exitDone)
		}
		if _, err := os.Stat(stale); (err == nil) != row.kept {
			t.Errorf("flags %q: the file is kept: %v, want %v", row.flags, err == nil, row.kept)
		}
	}
}

// claimsOf reads what a token says, without a look at its signature.
func claimsOf(token string, claims any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("a token of %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, claims)
}
