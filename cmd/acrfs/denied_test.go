package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acrfs/acrfs/registry"
)

func TestRefusedOperationsSayWhichRightIsMissing(t *testing.T) {
	alice := login{way: byEntra, shown: "Microsoft Entra as alice"}
	token := login{way: byPassword, shown: "user ci"}
	denied := func(op string) error {
		return fmt.Errorf("wrapped: %w", &registry.Error{Op: op, Status: 401, Code: "UNAUTHORIZED", Kind: registry.ErrDenied})
	}
	for name, row := range map[string]struct {
		host string
		who  login
		abac bool
		err  error
		item string
		want string
	}{
		"role": {anyHost, alice, false, denied("list tags of team/app"), "/team/app/_tags",
			"Microsoft Entra as alice may not list team/app: ask for the role AcrPull, or Container Registry Repository Reader if it uses ABAC"},
		"ABAC": {anyHost, alice, true, denied("get manifest team/app:v1"), "/team/app/_tags/v1/manifest.json",
			"Microsoft Entra as alice may not read team/app: ask for the role Container Registry Repository Reader"},
		"ABAC, catalog": {anyHost, alice, true, denied("list repositories"), "/",
			"Microsoft Entra as alice may not list the registry: ask for the role Container Registry Repository Catalog Lister"},
		"ABAC, az acr login": {anyHost, login{way: byDocker, shown: "docker login"}, true, denied("list repositories"), "/",
			"docker login may not list the registry: ask for the role Container Registry Repository Catalog Lister"},
		"scope map": {anyHost, token, false, denied("get properties of team/app"), "/team/app",
			"user ci may not list team/app: ask for metadata/read in the token's scope map, or for the role AcrPull where the login is of Microsoft Entra"},
		"scope map, content": {anyHost, token, false, denied("read blob team/app@sha256:1"), "/team/app/_blobs/sha256:1",
			"user ci may not read team/app: ask for content/read in the token's scope map, or for the role AcrPull where the login is of Microsoft Entra"},
		"scope map, catalog": {anyHost, token, false, denied("list repositories"), "/",
			"user ci may not list the registry: name repositories with --repository, they can be walked; or ask for a token with a scope map for *, or for the role AcrPull"},
		"anonymous": {anyHost, login{shown: "anonymous"}, false, denied("get manifest team/app:v1"), "/team/app/_tags/v1",
			"anonymous may not read team/app: sign in, anonymous pull does not go that far"},
		"elsewhere": {"ghcr.io", token, false, denied("get manifest team/app:v1"), "/team/app/_tags/v1",
			"user ci may not read team/app: ask the registry's owner for that right"},
		"elsewhere, catalog": {"ghcr.io", token, false, denied("list repositories"), "/",
			"user ci may not list the registry: name repositories with --repository, they can be walked"},
		"another network": {anyHost, alice, false, fmt.Errorf("wrapped: %w", &registry.Error{Op: "list tags of team/app", Status: 403, Code: "DENIED", Message: "client with IP '203.0.113.7' is not allowed access.", Kind: registry.ErrDenied}), "/team/app/_tags",
			"contoso.azurecr.io: its firewall does not let 203.0.113.7 in (403 DENIED: client with IP '203.0.113.7' is not allowed access.): have the address allowed in the registry's networking settings, or use its private endpoint"},
		"no catalog": {"ghcr.io", token, false, fmt.Errorf("wrapped: %w", &registry.Error{Op: "list repositories", Message: "the registry has no catalog", Kind: registry.ErrUnsupported}), "/",
			"ghcr.io does not tell which repositories it has: name them with --repository; all can be walked by name"},
		"the login itself": {anyHost, token, false, fmt.Errorf("list tags of a: %w", &registry.Error{Op: "log in to " + anyHost, Status: 401, Message: "credentials refused", Kind: registry.ErrDenied, Login: true}), "/a/_tags",
			"contoso.azurecr.io refused user ci (401: credentials refused): check the name and the password; a token's password may have expired, an admin account may be off"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &deniedLog{host: row.host, who: func() login { return row.who }, abac: func() bool { return row.abac }}
			if _, got := d.advice(row.err, row.item, ""); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestRefusalsAreToldOncePerRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(&deniedLog{
			Handler: slog.NewTextHandler(&out, nil), host: anyHost, told: &toldLately{},
			who: func() login { return login{way: byEntra, shown: "alice"} }, abac: func() bool { return false },
		}).With("mount", 1)
		fail := func(repo, file string) {
			err := &registry.Error{Op: "get manifest " + repo + ":v1", Status: 403, Kind: registry.ErrDenied}
			log.Warn("operation failed", "op", "open", "path", "/"+repo+"/_tags/"+file, "errno", syscall.EACCES.Error(), "err", err)
		}
		lines := func(want int) {
			t.Helper()
			if got := strings.Count(out.String(), "\n"); got != want {
				t.Errorf("got %d lines, want %d\n%s", got, want, &out)
			}
		}
		for i := range 1000 {
			fail("team/app", fmt.Sprint(i))
			fail("team/other", fmt.Sprint(i))
		}
		lines(2)
		if got := strings.Count(out.String(), "AcrPull"); got != 2 {
			t.Errorf("%d lines say what to do", got)
		}
		for range 10 {
			log.Warn("operation failed", "op", "readdir", "path", "/", "errno", syscall.ENOTSUP.Error(),
				"err", &registry.Error{Op: "list repositories", Kind: registry.ErrUnsupported})
		}
		lines(3)
		log.Warn("operation failed", "op", "setxattr", "path", "/team", "errno", syscall.ENOTSUP.Error(),
			"err", &registry.Error{Op: "update properties of team", Kind: registry.ErrUnsupported})
		lines(4)
		if got := strings.Count(out.String(), "--repository"); got != 1 {
			t.Errorf("%d lines say how to do without a catalog\n%s", got, &out)
		}
		log.Warn("change", "action", "delete", "item", "team/app:v1", "errno", syscall.EACCES.Error(), "reason", "delete team/app:v1: 401")
		log.Warn("change", "action", "delete", "item", "team/app:v2", "errno", syscall.EACCES.Error(), "reason", "delete team/app:v2: 401")
		lines(6) // each change has its line
		if got := strings.Count(out.String(), "AcrDelete"); got != 1 {
			t.Errorf("%d lines say what deleting needs\n%s", got, &out)
		}
		log.Warn("operation failed", "path", "/team/app/x", "errno", "input/output error", "err", errors.New("another"))
		lines(7)
		time.Sleep(tellAgain)
		fail("team/app", "v1")
		lines(8)
	})
}

// A walk through a repository without rights leaves one line that helps.
func TestMountSaysOnceWhichRightIsMissing(t *testing.T) {
	requireMount(t)
	url := serveToCI(t, "repositories/library/hello-world/metadata/read")
	dir := t.TempDir()
	p := mountAsCI(t, url, dir)
	all := tags(t, dir)
	for _, tag := range all {
		if _, err := os.ReadFile(filepath.Join(dir, "library", "hello-world", "_tags", tag, "manifest.json")); !os.IsPermission(err) {
			t.Errorf("%s: got %v, want EACCES", tag, err)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}
	said := p.stderr.String()
	if got := strings.Count(said, "user ci may not read library/hello-world: ask the registry's owner"); got != 1 || len(all) < 2 {
		t.Errorf("it was said %d times, for %d tags", got, len(all))
	}
	if got := strings.Count(said, "operation failed"); got > 2 {
		t.Errorf("%d lines for one missing right", got)
	}
}
