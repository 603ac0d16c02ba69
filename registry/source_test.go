package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSourceThatFailsIsNotAskedByEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, broken := 0, errors.New("docker-credential-x did not answer")
		c := clientIn(t, Config{Endpoint: "contoso.azurecr.io", Transport: &refusing{}, Credentials: credentialFunc(func() (Credential, error) {
			asked++
			return Credential{}, broken
		})})
		for i := range 600 { // a minute, in many repositories
			if err := listTags(t, c, "r"+strings.Repeat("x", i%50)); !errors.Is(err, broken) || !errors.Is(err, ErrDenied) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if asked < 5 || asked > 12 {
			t.Errorf("the source was asked %d times within a minute", asked)
		}
	})
}

// rotating is a registry as Amazon's is: passwords are good for twelve hours,
// and an old one is answered 403, which is no demand for another.
type rotating struct {
	asked  int
	locked error // the key ring is
}

const rotation = 12 * time.Hour

func (r *rotating) password(ago time.Duration) string {
	return time.Now().Add(-ago).Truncate(rotation / 2).String()
}

// Credential gives one that is good for another six hours at least.
func (r *rotating) Credential(context.Context) (Credential, error) {
	r.asked++
	return Credential{Username: "AWS", Password: r.password(0)}, r.locked
}

func (r *rotating) Do(req *http.Request) (*http.Response, error) {
	header, status, body := http.Header{"Content-Type": {"application/json"}}, http.StatusOK, `{"tags":null}`
	switch _, password, given := req.BasicAuth(); {
	case !given:
		header.Set("WWW-Authenticate", `Basic realm="https://1.dkr.ecr.example/"`)
		status = http.StatusUnauthorized
	case password != r.password(0) && password != r.password(rotation/2):
		status, body = http.StatusForbidden, errorBody("DENIED", "Your authorization token has expired. Reauthenticate and try again.")
	case strings.HasPrefix(req.URL.Path, "/acr/"):
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// What a source gave is not used for ever, though it is not refused by a 401.
func TestPasswordsOfASourceAreAskedForAnewNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &rotating{}
		c := clientIn(t, Config{Endpoint: "1.dkr.ecr.example", Transport: far, Credentials: far})
		begin := time.Now()
		for time.Since(begin) < 4*rotation {
			if err := listTags(t, c, "r"); err != nil {
				t.Fatalf("after %v: %v", time.Since(begin), err)
			}
			time.Sleep(time.Minute)
		}
		if far.asked > 300 {
			t.Errorf("the source was asked %d times in two days", far.asked)
		}
	})
}

// A key ring that is locked at night does not end a mount whose password is
// good.
func TestSourceThatFailsLaterDoesNotEndAGoodLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &rotating{}
		c := clientIn(t, Config{Endpoint: "1.dkr.ecr.example", Transport: far, Credentials: far})
		for minute := range 300 {
			if err := listTags(t, c, "r"); err != nil {
				t.Fatalf("in minute %d: %v", minute, err)
			}
			far.locked = errors.New("docker-credential-x: the key ring is locked")
			time.Sleep(time.Minute)
		}
		if far.asked < 10 || far.asked > 40 {
			t.Errorf("the source was asked %d times in five hours", far.asked)
		}
	})
}

// Where the credential itself is sent, each request is refused for itself: one
// repository may be closed to us and the next one open. A helper is not run for
// each.
func TestSourceOfARefusedPasswordIsNotAskedByEveryRequest(t *testing.T) {
	for name, give := range map[string]func(secret string) Credential{
		"password":       func(secret string) Credential { return Credential{Username: "AWS", Password: secret} },
		"registry token": func(secret string) Credential { return Credential{RegistryToken: secret} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, current := 0, "old"
				far := transportFunc(func(req *http.Request) (*http.Response, error) {
					header, status := http.Header{"Content-Type": {"application/json"}}, http.StatusOK
					_, password, _ := req.BasicAuth()
					switch {
					case password != "new" && req.Header.Get("Authorization") != "Bearer new":
						header.Set("WWW-Authenticate", `Basic realm="r"`)
						status = http.StatusUnauthorized
					case strings.HasPrefix(req.URL.Path, "/acr/"):
						status = http.StatusNotFound
					}
					return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(`{"tags":null}`)), Request: req}, nil
				})
				c := clientIn(t, Config{Endpoint: "registry.example", Transport: far, Credentials: credentialFunc(func() (Credential, error) {
					asked++
					return give(current), nil
				})})
				for range 600 { // a minute
					if err := listTags(t, c, "r"); !errors.Is(err, ErrDenied) {
						t.Fatalf("got %v, want ErrDenied", err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if asked < 5 || asked > 15 {
					t.Errorf("the source was asked %d times within a minute", asked)
				}
				current = "new"
				time.Sleep(refusedMost)
				if err := listTags(t, c, "r"); err != nil {
					t.Errorf("after it was put right: %v", err)
				}
			})
		})
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }
