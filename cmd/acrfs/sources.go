package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// way is how a login is made. It decides what can be done about a refusal.
type way int

const (
	byNobody   way = iota // anonymous
	byPassword            // given by flag or environment
	byDocker              // from the docker configuration
	byEntra               // from Microsoft Entra
)

// sources finds out who we are to a registry: what --auth names, or the first
// source that has a credential. One that has nothing is passed over; one that
// fails is remembered, and nobody is anonymous because of a failure.
type sources struct {
	host  string
	flags *authFlags
	env   authEnvironment
	roots *x509.CertPool // for Microsoft Entra; nil: the system's
	given login          // by flag or environment; anonymous when nothing was
}

// find returns the login to use. Its error names what failed and why.
func (s *sources) find(ctx context.Context) (login, error) {
	chosen := s.flags.auth.chosen
	switch chosen {
	case "anonymous":
		return login{shown: "anonymous"}, nil
	case "basic":
		if s.given.source == nil {
			return login{}, usagef("--auth basic needs a user: --username NAME --password-stdin, or ACRFS_USERNAME and ACRFS_PASSWORD")
		}
		return s.given, nil
	case "docker":
		found, err := s.docker(ctx)
		if errors.Is(err, errNothing) {
			return login{}, fmt.Errorf("--auth docker: no login for %s in %s%s: run %s", s.host, s.env.dockerFile(), s.env.whose(), dockerAdvice(s.host))
		}
		return found, err
	case "auto":
		return s.first(ctx)
	}
	found, err := entraLogin(ctx, chosen, s.host, s.flags, s.env, s.roots)
	if err != nil {
		return login{}, entraFailure(s.host, chosen, err)
	}
	return found, nil
}

// first tries the sources in order.
func (s *sources) first(ctx context.Context) (login, error) {
	if s.given.source != nil {
		return s.given, nil
	}
	var failed []error
	found, err := s.docker(ctx)
	switch {
	case err == nil:
		return found, nil
	case !errors.Is(err, errNothing):
		failed = append(failed, err)
	}
	var missed []string
	missed = append(missed, "no login for it in "+s.env.dockerFile()+s.env.whose())
	if s.azure() {
		found, err := entraLogin(ctx, "entra", s.host, s.flags, s.env, s.roots)
		switch {
		case err == nil:
			found.failed = errors.Join(failed...)
			return found, nil
		case ctx.Err() != nil:
			return login{}, ctx.Err()
		case noIdentity(err):
			missed = append(missed, "no Microsoft Entra identity here")
		default:
			failed = append(failed, entraFailure(s.host, "entra", err))
		}
	}
	if len(failed) > 0 {
		var lines []string
		for _, err := range failed {
			lines = append(lines, err.Error())
		}
		return login{}, errors.New(strings.Join(lines, "; ") + " (or give --auth anonymous)")
	}
	return login{shown: "anonymous", missed: missed}, nil
}

// azure tells registries that may take Microsoft Entra's tokens: Azure's by
// their name, and those whose cloud or audience the user gave.
func (s *sources) azure() bool {
	_, _, ok := azureRegistry(s.host)
	return ok || s.flags.cloud.chosen != "auto" || s.flags.audience != ""
}

func (s *sources) docker(ctx context.Context) (login, error) {
	source := &dockerLogin{file: s.env.dockerFile(), host: s.host, owner: s.env.sudo}
	credential, err := source.Credential(ctx)
	if errors.Is(err, errNothing) {
		return login{}, err
	}
	if err != nil {
		return login{}, fmt.Errorf("the docker login cannot be read: %w", err)
	}
	shown := "docker login"
	if user := credential.Username; user != "" && user != "<token>" && user != nullUser {
		shown += " of " + user
	}
	return login{source: source, way: byDocker, shown: shown + " in " + source.file + s.env.whose()}, nil
}

// nullUser is the user name of logins by az acr login.
const nullUser = "00000000-0000-0000-0000-000000000000"

// whose says whose files were read when that is not obvious.
func (e authEnvironment) whose() string {
	if e.sudo == nil {
		return ""
	}
	return " (" + e.sudo.name + "'s, who called sudo)"
}

// lateSource is the credential source of a mount. It looks for a login when it
// is first asked and after each time that none was found, and stays with it.
type lateSource struct {
	find   func(context.Context) (login, error)
	found  atomic.Pointer[login]
	failed atomic.Pointer[failedSearch]
}

// failedSearch is remembered for a moment: every look at a mount that is not
// signed in asks, and a search may have to start the Azure CLI.
type failedSearch struct {
	err error
	at  time.Time
}

// searchEvery is shorter than the first wait of gate.keepAsking, so that each
// of its questions is a new search.
const searchEvery = askFirst / 2

func (l *lateSource) login(ctx context.Context) (login, error) {
	if who := l.found.Load(); who != nil {
		return *who, nil
	}
	if last := l.failed.Load(); last != nil && time.Since(last.at) < searchEvery {
		return login{}, last.err
	}
	who, err := l.find(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.failed.Store(&failedSearch{err, time.Now()})
		}
		return login{}, err
	}
	l.found.Store(&who)
	return who, nil
}

func (l *lateSource) Credential(ctx context.Context) (registry.Credential, error) {
	who, err := l.login(ctx)
	if err != nil || who.source == nil {
		return registry.Credential{}, err
	}
	return who.source.Credential(ctx)
}
