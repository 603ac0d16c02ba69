package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// counted counts the logins that a registry of hand-written answers is asked
// for.
type counted struct {
	mu      sync.Mutex // guards all below
	answers answers
	logins  int
}

func (c *counted) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPost {
		c.logins++
	}
	return c.answers.Do(r)
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins
}

// A mount that waits to be let in asks less and less often, and is in within
// two minutes of being let in.
func TestWaitingToBeLetInDoesNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, granted := answer{401, ""}, answer{200, accessToken}
		far := &counted{answers: withTokens(refused, refused)}
		searches := 0
		source := &lateSource{find: func(context.Context) (login, error) {
			searches++
			return login{source: registry.StaticCredential(registry.Credential{Username: "ci", Password: "hunter2"}), way: byPassword, shown: "user ci"}, nil
		}}
		client, err := registry.New(registry.Config{Endpoint: anyHost, Transport: far, Credentials: source})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		in := &gate{client: client, source: source, patient: true, log: slog.New(slog.DiscardHandler)}
		if err := in.ask(t.Context()); err != nil || !in.waiting.Load() {
			t.Fatalf("got %v, waiting %v", err, in.waiting.Load())
		}
		letIn := make(chan time.Time, 1)
		go in.keepAsking(t.Context(), func() { letIn <- time.Now() })

		time.Sleep(time.Minute)
		synctest.Wait()
		if got := far.count(); got < 4 || got > 10 {
			t.Errorf("%d logins in the first minute", got)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := far.count(); got < 700 || got > 2*740 {
			t.Errorf("%d logins in a day", got)
		}
		if searches != 1 {
			t.Errorf("a login that was found was searched for %d times", searches)
		}
		open := withTokens(granted, granted)
		open["GET /v2/"] = answer{200, "{}"}
		far.mu.Lock()
		far.answers = open
		far.mu.Unlock()
		opened := time.Now()
		if after := (<-letIn).Sub(opened); after > askMost || in.waiting.Load() {
			t.Errorf("let in after %v, waiting %v", after, in.waiting.Load())
		}
	})
}

// A source that failed is named once, however often the registry is asked.
func TestFailedSourceIsNamedOnce(t *testing.T) {
	source := &lateSource{find: func(context.Context) (login, error) {
		return login{shown: "anonymous", failed: errors.New("docker-credential-x is broken")}, nil
	}}
	client, err := registry.New(registry.Config{Endpoint: anyHost, Transport: withTokens(answer{401, ""}, answer{401, ""}), Credentials: source})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var out bytes.Buffer
	in := &gate{client: client, source: source, patient: true, log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 3 {
		if err := in.ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "docker-credential-x is broken"); got != 1 {
		t.Errorf("it was named %d times\n%s", got, &out)
	}
}
