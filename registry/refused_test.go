package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refusing is Azure's registry under a fake clock, which has no sockets. It
// counts logins, and refuses those that it is told to.
type refusing struct {
	tokens, exchanges int
	refuse            bool
}

func (r *refusing) Do(req *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{
			"Content-Type":     {"application/json"},
			"Www-Authenticate": {`Bearer realm="https://contoso.azurecr.io/oauth2/token",service="contoso.azurecr.io"`},
		}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
	switch {
	case req.URL.Path == "/oauth2/exchange":
		r.exchanges++
		if !r.refuse {
			return answer(200, `{"refresh_token":"`+jwt(`{"exp":95617584000}`)+`"}`)
		}
	case req.URL.Path == "/oauth2/token":
		r.tokens++
		if !r.refuse {
			return answer(200, `{"access_token":"`+jwt(`{"exp":95617584000}`)+`"}`)
		}
	case req.Header.Get("Authorization") != "":
		return answer(200, `{"tags":null}`)
	}
	return answer(401, "")
}

// TestRefusedPasswordIsNotTriedForEveryRepository: a walk through thousands of
// them, each with a scope of its own, would lock the account.
func TestRefusedPasswordIsNotTriedForEveryRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &refusing{refuse: true}
		asked := 0
		c := clientIn(t, Config{Endpoint: "contoso.azurecr.io", Transport: far, Credentials: credentialFunc(func() (Credential, error) {
			asked++
			return Credential{Username: "u", Password: "expired"}, nil
		})})
		for i := range 1000 {
			if err := listTags(t, c, fmt.Sprintf("team/app%d", i)); !errors.Is(err, ErrDenied) {
				t.Fatalf("got %v, want ErrDenied", err)
			}
		}
		if far.tokens > 3 || asked > 5 {
			t.Errorf("%d logins, and the source was asked %d times", far.tokens, asked)
		}
		far.refuse = false
		time.Sleep(refusedMost)
		if err := listTags(t, c, "team/app0"); err != nil {
			t.Errorf("after it was put right: %v", err)
		}
	})
}

// TestPrivateRepositoryNextToPublicOnes: a service may give an anonymous caller
// nothing without a scope, and that says nothing about the other repositories.
func TestPrivateRepositoryNextToPublicOnes(t *testing.T) {
	f := newFake(t)
	guard := f.challenging(reply(200, `{"tags":null}`))
	f.on("GET /v2/", guard)
	f.on("GET /token", func(w http.ResponseWriter, r *http.Request) {
		if scope := r.URL.Query().Get("scope"); scope == "" || strings.Contains(scope, "private") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		reply(200, `{"token":"x"}`)(w, r)
	})
	c := newClient(t, f.URL)
	for _, repo := range []string{"public/a", "private/b", "public/c", "public/d"} {
		f.on("GET /v2/"+repo+"/tags/list", guard)
		var want error
		if strings.HasPrefix(repo, "private") {
			want = ErrDenied
		}
		if err := listTags(t, c, repo); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", repo, err, want)
		}
	}
}

// clientIn is a client under a fake clock, which has to end before its bubble.
func clientIn(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Whoever reads on and on without being let in has a login refused every few
// seconds, and is in within seconds once it is put right.
func TestRefusedLoginsAreNotRepeatedByEveryRequest(t *testing.T) {
	for name, configure := range map[string]func(*Config){
		"password":  withCredential(Credential{Username: "u", Password: "p"}),
		"anonymous": func(*Config) {},
		"Entra":     withEntra(always("entra-1")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := &refusing{refuse: true}
				cfg := Config{Endpoint: "contoso.azurecr.io", Transport: far}
				configure(&cfg)
				c := clientIn(t, cfg)
				for range 6000 { // ten minutes
					if err := listTags(t, c, "r"); !errors.Is(err, ErrDenied) {
						t.Fatalf("got %v, want ErrDenied", err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				// 600 s in pauses of 8 s. An anonymous login is asked for in two
				// widths, and Entra has a step before.
				if got := far.tokens + far.exchanges; got < 60 || got > 2*85 {
					t.Errorf("%d logins were tried within ten minutes of reading", got)
				}
				far.refuse = false
				time.Sleep(refusedMost)
				if err := listTags(t, c, "r"); err != nil {
					t.Errorf("after it was put right: %v", err)
				}
			})
		})
	}
}
