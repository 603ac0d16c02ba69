package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// deniedLog makes of many refusals few lines that help. The first of a
// repository says what right is missing, and whom to ask; those that follow,
// one for each file of a walk, are at debug level. A catalog that there is not
// is told likewise.
type deniedLog struct {
	slog.Handler
	host string
	who  func() login // who we are by now
	abac func() bool  // rights are given per repository
	told *toldLately
}

func withAdvice(logger *slog.Logger, client *registry.Client, source *lateSource) *slog.Logger {
	who := func() login {
		if found := source.found.Load(); found != nil {
			return *found
		}
		return login{shown: "nobody"}
	}
	return slog.New(&deniedLog{Handler: logger.Handler(), host: client.Host(), who: who, abac: client.PerRepository, told: &toldLately{}})
}

// tellAgain is after how long a refusal is told anew.
const tellAgain = 10 * time.Minute

func (d *deniedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *d
	with.Handler = d.Handler.WithAttrs(attrs)
	return &with
}

func (d *deniedLog) WithGroup(name string) slog.Handler {
	with := *d
	with.Handler = d.Handler.WithGroup(name)
	return &with
}

// Handle knows the two records in which package fs tells that the registry
// refused: of operations that failed, and of changes.
func (d *deniedLog) Handle(ctx context.Context, record slog.Record) error {
	var err error
	var item, action string
	denied, login := false, false
	record.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "err":
			err, _ = a.Value.Any().(error)
			denied = errors.Is(err, registry.ErrDenied) || noCatalog(err)
		case "errno":
			denied = denied || record.Message == "change" && a.Value.String() == syscall.EACCES.Error()
		case "path", "item":
			item = a.Value.String()
		case "action":
			action = a.Value.String()
		case "reason": // of a change, which has no err
			login = strings.Contains(a.Value.String(), "log in to ")
		}
		return true
	})
	if !denied || login {
		return d.Handler.Handle(ctx, record)
	}
	key, advice := d.advice(err, item, action)
	if d.told.first(key) {
		record = record.Clone()
		record.AddAttrs(slog.String("advice", advice))
		return d.Handler.Handle(ctx, record)
	}
	if record.Message != "change" {
		record.Level = slog.LevelDebug
		if !d.Handler.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return d.Handler.Handle(ctx, record)
}

// noCatalog: the registry does not say what is in it, to anybody.
func noCatalog(err error) bool {
	e := innermost(err)
	return e != nil && e.Op == listRepositories && errors.Is(err, registry.ErrUnsupported)
}

// listRepositories is what package registry calls that operation.
const listRepositories = "list repositories"

// advice is what to do about a refusal, and what that is about: no second
// refusal of the same needs telling.
func (d *deniedLog) advice(err error, item, action string) (key, advice string) {
	who := d.who()
	e := innermost(err)
	if e != nil && (e.Login || firewalled(e) != "") {
		return "login", who.explain(e, d.host, d.abac()).Error()
	}
	if noCatalog(err) {
		return "catalog", d.host + " does not tell which repositories it has: name them with --repository; all can be walked by name"
	}
	words := action // of a change: delete tag, set …
	if e != nil {
		words = e.Op
	}
	r := rightFor(words)
	repository, _, _ := strings.Cut(strings.TrimPrefix(item, "/")+"/", "/_")
	repository, _, _ = strings.Cut(strings.TrimSuffix(repository, "/"), "@")
	repository, _, _ = strings.Cut(repository, ":")
	if r == listAll || repository == "" {
		r, repository = listAll, "the registry"
	}
	return r.does + " " + repository, r.advice(who, d.host, repository, d.abac())
}

// right is what a registry allows or not, in its own words.
type right struct {
	does     string // what cannot be done without
	scopeMap string // what ACR's tokens call it
	role     string // Azure's role that has it
	abac     string // the role where rights are given per repository
}

var (
	listAll = right{"list", "", "AcrPull", "Container Registry Repository Catalog Lister"}
	list    = right{"list", "metadata/read", "AcrPull", "Container Registry Repository Reader"}
	read    = right{"read", "content/read", "AcrPull", "Container Registry Repository Reader"}
	remove  = right{"delete in", "content/delete", "AcrDelete", "Container Registry Repository Contributor"}
	change  = right{"change the flags of", "metadata/write", "Contributor", "Container Registry Repository Contributor"}
)

// rightFor is the right that an operation of package registry, or a change of
// package fs, needs.
func rightFor(words string) right {
	verb, about, _ := strings.Cut(words, " ")
	switch {
	case words == listRepositories:
		return listAll
	case verb == "delete":
		return remove
	case verb == "set", verb == "update":
		return change
	case verb == "list", strings.HasPrefix(about, "properties"), verb == "resolve":
		return list
	}
	return read
}

func (r right) advice(who login, host, repository string, abac bool) string {
	_, _, azure := azureRegistry(host)
	const byName = "name repositories with --repository, they can be walked"
	begin := who.shown + " may not " + r.does + " " + repository + ": "
	switch {
	case who.way == byNobody:
		return begin + "sign in, anonymous pull does not go that far"
	case abac: // by az acr login, too
		return begin + "ask for the role " + r.abac
	case who.way == byEntra:
		return begin + "ask for the role " + r.role + ", or " + r.abac + " if it uses ABAC"
	case azure && r == listAll:
		return begin + byName + "; or ask for a token with a scope map for *, or for the role " + r.role
	case azure:
		return begin + "ask for " + r.scopeMap + " in the token's scope map, or for the role " + r.role + " where the login is of Microsoft Entra"
	case r == listAll:
		return begin + byName
	}
	return begin + "ask the registry's owner for that right"
}

// toldLately remembers what was told, and when.
type toldLately struct {
	mu sync.Mutex // guards at
	at map[string]time.Time
}

// toldMost bounds the memory; what is forgotten is told again.
const toldMost = 4096

func (t *toldLately) first(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.at[key]; ok && time.Since(at) < tellAgain {
		return false
	}
	if t.at == nil || len(t.at) >= toldMost {
		t.at = map[string]time.Time{}
	}
	t.at[key] = time.Now()
	return true
}
