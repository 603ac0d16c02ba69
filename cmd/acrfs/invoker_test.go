package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/acrfs/acrfs/registry"
)

// Under sudo the logins of the user who called it are meant, and the line says
// whose files were read.
func TestSudoReadsTheLoginsOfWhoCalledIt(t *testing.T) {
	requireMount(t)
	caller, err := user.LookupId("65534")
	if os.Geteuid() != 0 || err != nil {
		t.Skipf("not root, or no user nobody: %v", err)
	}
	_, url := serveSeeded(t)
	cmd := command(t, "mount", "--auth", "docker", url, t.TempDir())
	cmd.Env = append(cmd.Env, "SUDO_UID=65534", "DOCKER_CONFIG=")
	p := start(t, cmd)
	host := strings.TrimPrefix(url, "http://")
	want := "acrfs mount: --auth docker: no login for " + host + " in " + caller.HomeDir + "/.docker/config.json (" +
		caller.Username + "'s, who called sudo): run docker login " + host + "\n"
	if status := p.status(); status != exitFailed || p.stderr.String() != want {
		t.Errorf("status %d, got %swant %s", status, p.stderr, want)
	}
}

// Whoever is let in under sudo is told whose logins were looked at, found or not.
func TestSudoSaysWhoseLoginsAreUsed(t *testing.T) {
	requireMount(t)
	caller, err := user.LookupId("65534")
	if os.Geteuid() != 0 || err != nil {
		t.Skipf("not root, or no user nobody: %v", err)
	}
	rig := serveEntra(t, "--name", "contoso.azurecr.io", "--users", contosoUsers(t), "--direct-blobs")
	room := openRoom(t)
	az, err := os.ReadFile(filepath.Join(rig.azureCLI(), "az"))
	if err == nil {
		err = os.WriteFile(filepath.Join(room, "az"), az, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths":{"contoso.azurecr.io":{"auth":"Y2k6aHVudGVyMg=="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, open := serveSeeded(t, "--auth", "anonymous")
	whose := caller.Username + "'s, who called sudo"
	for name, row := range map[string]struct {
		start func(*testing.T) *process
		shown string
	}{
		"docker": {func(t *testing.T) *process {
			return mountContoso(t, rig, t.TempDir(), []string{"SUDO_UID=65534", "DOCKER_CONFIG=" + config}, "").start()
		}, "docker login of ci in " + config + "/config.json (" + whose + ")"},
		"Azure CLI": {func(t *testing.T) *process {
			return mountContoso(t, rig, t.TempDir(), []string{"SUDO_UID=65534", "AZURE_CONFIG_DIR=", "PATH=" + room + ":/bin:/usr/bin"}, "").start()
		}, "Microsoft Entra as alice@contoso.com of the Azure CLI, logins in " + caller.HomeDir + "/.azure"},
		"nobody": {func(t *testing.T) *process {
			cmd := mountCommand(t, open, t.TempDir())
			cmd.Env = append(cmd.Env, "SUDO_UID=65534", "DOCKER_CONFIG=")
			return start(t, cmd)
		}, "anonymous: no login for it in " + caller.HomeDir + "/.docker/config.json (" + whose + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			p := row.start(t)
			if line := p.until("mounted "); !strings.Contains(line, ": "+row.shown+", read-only") {
				t.Errorf("start line %q, want %q in it", line, row.shown)
			}
			if status := p.stop(syscall.SIGINT); status != exitDone {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// A service of the system's has no HOME, and its user has one. Files of the
// directory that it runs in are nobody's logins.
func TestLoginsWithoutHOMEAreThoseOfTheUser(t *testing.T) {
	requireMount(t)
	self, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Skip(err)
	}
	here := t.TempDir()
	if err := os.Mkdir(filepath.Join(here, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := `{"auths":{"127.0.0.1:1":{"auth":"Y2k6aHVudGVyMg=="}}}`
	if err := os.WriteFile(filepath.Join(here, ".docker", "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := mountCommand(t, "http://127.0.0.1:1", t.TempDir(), "--auth", "docker")
	cmd.Dir = here
	cmd.Env = append(cmd.Env, "HOME=", "DOCKER_CONFIG=", "SUDO_UID=")
	p := start(t, cmd)
	want := "acrfs mount: --auth docker: no login for 127.0.0.1:1 in " + self.HomeDir + "/.docker/config.json"
	if status := p.status(); status != exitFailed || !strings.HasPrefix(p.stderr.String(), want) {
		t.Errorf("status %d, got %swant %s", status, p.stderr, want)
	}
}

// openRoom is a temporary directory that others may read; t.TempDir is closed.
func openRoom(t *testing.T) string {
	t.Helper()
	room, err := os.MkdirTemp("", "acrfs-test-")
	if err == nil {
		err = os.Chmod(room, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(room) })
	return room
}

// The Azure CLI of the user who called sudo runs as that user, alone and at the
// end of the default chain: as root it would leave files of root's in ~/.azure.
func TestSudoRunsTheAzureCLIAsWhoCalledIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: there is nobody to become")
	}
	room := openRoom(t)
	t.Setenv("PATH", room+":/bin:/usr/bin")
	answer := func(body string) {
		if err := os.WriteFile(filepath.Join(room, "az"), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := authEnvironment{sudo: &invoker{name: "alice", home: "/home/alice", uid: 65534, gid: 65533}, azureChain: "dev"}
	ask := func(source string) (string, error) {
		credential, err := entraTokens(source, azcore.ClientOptions{}, true, env)
		if err != nil {
			t.Fatal(err)
		}
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}})
		if err == nil && time.Until(token.ExpiresOn) < time.Minute {
			t.Errorf("%s: it expires at %v", source, token.ExpiresOn)
		}
		return token.Token, err
	}
	for _, source := range []string{"azcli", "entra"} {
		for _, expires := range []string{`"expires_on":4102444800`, `"expiresOn":"2100-01-01 00:00:00.000000"`} {
			answer(`echo "{\"accessToken\":\"$(id -u):$(id -g):$HOME:$*\",` + strings.ReplaceAll(expires, `"`, `\"`) + `}"`)
			want := "65534:65533:/home/alice:account get-access-token -o json --resource https://containerregistry.azure.net"
			if got, err := ask(source); got != want || err != nil {
				t.Errorf("%s: got %q, %v; want %q", source, got, err, want)
			}
		}
		answer(`echo "ERROR: AADSTS700082: The refresh token has expired." >&2; exit 1`)
		if _, err := ask(source); err == nil || noIdentity(err) || !expired.MatchString(err.Error()) {
			t.Errorf("%s, expired: got %v", source, err)
		}
		answer(`echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`)
		if _, err := ask(source); err == nil || !noIdentity(err) {
			t.Errorf("%s, nobody logged in: got %v", source, err)
		}
		answer(`echo '{"accessToken":""}'`)
		if _, err := ask(source); err == nil || noIdentity(err) {
			t.Errorf("%s, no token: got %v", source, err)
		}
		if err := os.Remove(filepath.Join(room, "az")); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(source); err == nil || !noIdentity(err) {
			t.Errorf("%s, without az: got %v", source, err)
		}
	}
}

// A program that a user's configuration names does not run as root.
func TestSudoRunsHelpersAsWhoCalledIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: there is nobody to become")
	}
	room := openRoom(t)
	helper := "#!/bin/sh\necho \"{\\\"Username\\\":\\\"$(id -u):$(id -g) of $USER\\\",\\\"Secret\\\":\\\"$HOME\\\"}\"\n"
	for _, err := range []error{
		os.WriteFile(filepath.Join(room, "docker-credential-who"), []byte(helper), 0o755),
		os.WriteFile(filepath.Join(room, "config.json"), []byte(`{"credsStore":"who"}`), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", room+":/bin:/usr/bin")
	d := &dockerLogin{file: filepath.Join(room, "config.json"), host: anyHost, owner: &invoker{name: "alice", home: "/home/alice", uid: 65534, gid: 65533}}
	want := registry.Credential{Username: "65534:65533 of alice", Password: "/home/alice"}
	if got, err := d.Credential(t.Context()); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
