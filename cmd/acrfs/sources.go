package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
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
	byDocker              // from a file of docker's or podman's
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
			return login{}, fmt.Errorf("--auth docker: no login for %s in %s: run %s", s.host, s.looked(), dockerAdvice(s.host, "docker"))
		}
		return found, err
	case "auto":
		return s.first(ctx)
	}
	found, err := entraLogin(ctx, chosen, s.host, s.flags, s.env, s.roots)
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return login{}, ctx.Err()
	}
	return login{}, entraFailure(s.host, chosen, err)
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
	case ctx.Err() != nil:
		return login{}, ctx.Err()
	case !errors.Is(err, errNothing):
		failed = append(failed, err)
	}
	var missed []string
	missed = append(missed, "no login for it in "+s.looked())
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
			lines = append(lines, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		return login{}, errors.New(strings.Join(lines, "; ") + " (or give --auth anonymous)")
	}
	nobody := login{shown: "anonymous", missed: missed}
	if s.env.sudo != nil {
		nobody.note = ": " + strings.Join(missed, ", ") // it may not be the home that was expected
	}
	return nobody, nil
}

// azure tells registries that may take Microsoft Entra's tokens: Azure's by
// their name, and those whose cloud or audience the user gave.
func (s *sources) azure() bool {
	_, _, ok := azureRegistry(s.host)
	return ok || s.flags.cloud.chosen != "auto" || s.flags.audience != ""
}

// files are where docker and podman keep logins, docker's own first.
func (s *sources) files() []string {
	return append([]string{s.env.dockerFile()}, s.env.podmanFiles()...)
}

// docker returns the first login in a file of docker's or podman's, or
// errNothing. A file that cannot be read is passed over for one that can, and
// named.
func (s *sources) docker(ctx context.Context) (login, error) {
	var failed []error
	for _, file := range s.files() {
		source := &dockerLogin{file: file, host: s.host, owner: s.env.sudo}
		credential, err := source.Credential(ctx)
		switch {
		case err == nil:
			found := source.login(credential)
			found.shown += s.env.whose()
			found.failed = errors.Join(failed...)
			return found, nil
		case ctx.Err() != nil:
			return login{}, ctx.Err()
		case !errors.Is(err, errNothing):
			failed = append(failed, fmt.Errorf("the %s login cannot be read: %w", source.tool(), err))
		}
	}
	if len(failed) > 0 {
		return login{}, errors.Join(failed...)
	}
	return login{}, errNothing
}

// looked names the files in which there is no login.
func (s *sources) looked() string {
	files := s.files()[:1]
	for _, file := range s.files()[1:] {
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	return strings.Join(files, " or ") + s.env.whose()
}

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
