package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// gate is the way into a registry: it finds out who we are and asks the
// registry whether that one may come in.
type gate struct {
	client *registry.Client
	source *lateSource
	// patient lets a mount start outside, with --allow-unauthenticated-start:
	// what is cached is served, and keepAsking goes on.
	patient bool
	log     *slog.Logger

	who     login
	named   bool        // which source failed before who was found
	outside error       // why we are not in yet; nil when we are
	waiting atomic.Bool // the mount was started outside and is not in yet
}

// ask asks once. Its error says in the user's words what to do.
func (g *gate) ask(ctx context.Context) error {
	g.outside = g.try(ctx)
	if g.outside == nil || !g.patient || !passing(g.outside) || ctx.Err() != nil {
		return g.outside
	}
	g.waiting.Store(true)
	g.who.note = " (not in yet: " + oneLine(g.outside) + ")"
	g.log.Warn("not in yet; what is cached is served", "error", g.outside)
	return nil
}

func (g *gate) try(ctx context.Context) error {
	who, err := g.source.login(ctx)
	if err != nil {
		g.who = login{shown: "not signed in"}
		return err
	}
	g.who = who
	if who.failed != nil && !g.named {
		g.named = true
		g.log.Warn("a credential could not be read; another one is used", "used", who.shown, "error", oneLine(who.failed))
	}
	err = g.client.Ping(ctx)
	if err == nil && g.client.PerRepository() {
		g.log.Info("the registry gives rights per repository (ABAC): to list them all needs the role Container Registry Repository Catalog Lister")
	}
	return who.explain(err, g.client.Host(), g.client.PerRepository())
}

// passing tells what may be better later from what is wrong for good.
func passing(err error) bool {
	var usage *usageError
	return !errors.As(err, &usage) && !errors.Is(err, registry.ErrUnsupported)
}

// How long keepAsking waits between two questions: a registry or a login that
// is late by seconds is seen at once, and one that is away for a night is not
// asked thousands of times.
const (
	askFirst = 2 * time.Second
	askMost  = 2 * time.Minute
)

// keepAsking asks again until we are in, calls in, and ends; or until ctx does.
// It does nothing when we are in already.
func (g *gate) keepAsking(ctx context.Context, in func()) {
	if g.outside == nil {
		return
	}
	wait := time.NewTimer(askFirst)
	defer wait.Stop()
	for delay := askFirst; ; delay = min(2*delay, askMost) {
		wait.Reset(delay)
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		switch g.outside = g.try(ctx); {
		case ctx.Err() != nil:
			return
		case g.outside == nil:
			g.waiting.Store(false)
			g.log.Info("signed in", "registry", g.client.Host(), "as", g.who.shown)
			in()
			return
		}
		g.log.Debug("not in yet", "error", g.outside)
	}
}
