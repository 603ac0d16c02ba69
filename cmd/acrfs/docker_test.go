package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/registry"
)

const (
	user64   = "YWxpY2U6aHVudGVyMg=="                                 // alice:hunter2
	azLogin  = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==" // the null GUID and a colon
	anyHost  = "contoso.azurecr.io"
	helperOK = `read host; echo "{\"ServerURL\":\"$host\",\"Username\":\"<token>\",\"Secret\":\"helped $host\"}"`
)

// dockerHome makes a docker configuration, and helpers on PATH.
func dockerHome(t *testing.T, config string, helpers map[string]string) *dockerLogin {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	for name, body := range helpers {
		path = script(t, "docker-credential-"+name, body) + ":" + path
	}
	t.Setenv("PATH", path)
	return &dockerLogin{file: file, host: anyHost}
}

func TestDockerConfigurationGivesTheLoginOfTheHost(t *testing.T) {
	for name, row := range map[string]struct {
		config  string
		host    string
		helpers map[string]string
		want    registry.Credential
	}{
		"user and password": {config: `{"auths":{"contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
			want: registry.Credential{Username: "alice", Password: "hunter2"}},
		"az acr login": {config: `{"auths":{"contoso.azurecr.io":{"auth":"` + azLogin + `","identitytoken":"refresh"}}}`,
			want: registry.Credential{IdentityToken: "refresh"}},
		"clear text": {config: `{"auths":{"contoso.azurecr.io":{"username":"alice","password":"a:b"}}}`,
			want: registry.Credential{Username: "alice", Password: "a:b"}},
		"whole URL": {config: `{"auths":{"https://contoso.azurecr.io/v1/":{"auth":"` + user64 + `"}}}`,
			want: registry.Credential{Username: "alice", Password: "hunter2"}},
		"registry token": {config: `{"auths":{"contoso.azurecr.io":{"registrytoken":"access"}}}`,
			want: registry.Credential{RegistryToken: "access"}},
		"name in capitals": {config: `{"auths":{"Contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
			want: registry.Credential{Username: "alice", Password: "hunter2"}},
		"repository of podman's": {config: `{"auths":{"contoso.azurecr.io/team":{"auth":"b3RoZXI6cHc="},"https://contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
			want: registry.Credential{Username: "alice", Password: "hunter2"}},
		"Docker Hub": {config: `{"auths":{"https://index.docker.io/v1/":{"auth":"` + user64 + `"}}}`, host: "registry-1.docker.io",
			want: registry.Credential{Username: "alice", Password: "hunter2"}},
		"helper of the host": {config: `{"credHelpers":{"contoso.azurecr.io":"one"},"credsStore":"two"}`,
			helpers: map[string]string{"one": helperOK, "two": "exit 1"},
			want:    registry.Credential{Username: "<token>", Password: "helped contoso.azurecr.io"}},
		"helper of all": {config: `{"credHelpers":{"other":"one"},"credsStore":"two"}`, helpers: map[string]string{"two": helperOK},
			want: registry.Credential{Username: "<token>", Password: "helped contoso.azurecr.io"}},
		"no helper for the host": {config: `{"credHelpers":{"contoso.azurecr.io":""},"credsStore":"two","auths":{"contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
			helpers: map[string]string{"two": helperOK},
			want:    registry.Credential{Username: "alice", Password: "hunter2"}},
		"helper without, then the file": {config: `{"credsStore":"two","auths":{"contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
			helpers: map[string]string{"two": `echo "credentials not found in native keychain"; exit 1`},
			want:    registry.Credential{Username: "alice", Password: "hunter2"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := dockerHome(t, row.config, row.helpers)
			if row.host != "" {
				d.host = row.host
			}
			if got, err := d.Credential(t.Context()); got != row.want || err != nil {
				t.Errorf("got %+v, %v; want %+v", got, err, row.want)
			}
		})
	}
}

func TestDockerConfigurationWithoutALogin(t *testing.T) {
	for name, config := range map[string]string{
		"empty":          "",
		"nothing in it":  "{}",
		"another host":   `{"auths":{"contoso.azurecr.io.evil.example":{"auth":"` + user64 + `"},"azurecr.io":{"auth":"` + user64 + `"}}}`,
		"another's URL":  `{"auths":{"https://evil.example/contoso.azurecr.io":{"auth":"` + user64 + `"}}}`,
		"an empty entry": `{"auths":{"contoso.azurecr.io":{}}}`,
		"a repository's": `{"auths":{"contoso.azurecr.io/team":{"auth":"` + user64 + `"}}}`,
	} {
		if got, err := dockerHome(t, config, nil).Credential(t.Context()); !errors.Is(err, errNothing) || got != (registry.Credential{}) {
			t.Errorf("%s: got %+v, %v; want nothing", name, got, err)
		}
	}
	d := &dockerLogin{file: filepath.Join(t.TempDir(), "none"), host: anyHost}
	if _, err := d.Credential(t.Context()); !errors.Is(err, errNothing) {
		t.Errorf("without a file: %v", err)
	}
}

// A source that fails is not one that has nothing, and tells no secret.
func TestFailingDockerConfigurationSaysWhy(t *testing.T) {
	for name, row := range map[string]struct {
		config  string
		helpers map[string]string
		want    string
	}{
		"not JSON":          {config: `{"auths":{"contoso.azurecr.io":{"auth":"hunter2"}`, want: "not JSON"},
		"not an object":     {config: `{"auths":"hunter2"}`, want: "not a docker configuration"},
		"not base64":        {config: `{"auths":{"contoso.azurecr.io":{"auth":"!hunter2!"}}}`, want: `config.json: the login for "contoso.azurecr.io" holds no user and password`},
		"no colon":          {config: `{"auths":{"contoso.azurecr.io":{"auth":"aHVudGVyMg=="}}}`, want: "holds no user and password"},
		"no password":       {config: `{"auths":{"contoso.azurecr.io":{"username":"alice"}}}`, want: "holds no user and password"},
		"helper is silent":  {config: `{"credsStore":"two"}`, helpers: map[string]string{"two": `exit 3`}, want: "docker-credential-two: exit status 3"},
		"helper babbles":    {config: `{"credsStore":"two"}`, helpers: map[string]string{"two": `head -c 9000000 /dev/zero | tr '\0' x`}, want: "not JSON"},
		"helper missing":    {config: `{"credsStore":"nowhere"}`, want: "docker-credential-nowhere"},
		"helper by a path":  {config: `{"credsStore":"../../tmp/evil"}`, want: "no name of one"},
		"helper fails":      {config: `{"credsStore":"two"}`, helpers: map[string]string{"two": `echo "the key ring is locked" >&2; exit 1`}, want: "docker-credential-two: the key ring is locked"},
		"helper's nonsense": {config: `{"credsStore":"two"}`, helpers: map[string]string{"two": `echo hunter2`}, want: "not JSON"},
		"half an answer":    {config: `{"credsStore":"two"}`, helpers: map[string]string{"two": `echo '{"Secret":"hunter2"'; exit 1`}, want: "it failed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dockerHome(t, row.config, row.helpers).Credential(t.Context())
			if err == nil || errors.Is(err, errNothing) || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
}

func TestDockerConfigurationIsReadAnew(t *testing.T) {
	d := dockerHome(t, `{"auths":{"contoso.azurecr.io":{"identitytoken":"old"}}}`, nil)
	if got, err := d.Credential(t.Context()); err != nil || got.IdentityToken != "old" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := os.WriteFile(d.file, []byte(`{"auths":{"contoso.azurecr.io":{"identitytoken":"new"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Credential(t.Context()); err != nil || got.IdentityToken != "new" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// What a helper started does not outlive the wait for it.
func TestHelperThatHangsIsEndedWithAllThatItStarted(t *testing.T) {
	d := dockerHome(t, `{"credsStore":"two"}`, nil)
	pid := filepath.Join(filepath.Dir(d.file), "pid")
	t.Setenv("PATH", script(t, "docker-credential-two", "sleep 600 & echo $! >"+pid+".new; mv "+pid+".new "+pid+"; wait")+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := d.Credential(ctx)
		ended <- err
	}()
	var started int
	eventually(t, "the helper", func() bool {
		text, err := os.ReadFile(pid)
		started, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's own end", err)
	}
	eventually(t, "the end of what the helper started", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", started))
		return err != nil || strings.Contains(string(state), ") Z ") // gone, or waiting to be buried
	})
}

// A mount that will end with its login says so at the start.
func TestLoginThatRunsOutSaysWhen(t *testing.T) {
	d := &dockerLogin{file: "/home/alice/.docker/config.json", host: anyHost}
	token := func(end time.Time) registry.Credential {
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, end.Unix()))
		return registry.Credential{IdentityToken: "e30." + claims + ".c2ln"}
	}
	end := time.Now().Add(3 * time.Hour)
	for want, credential := range map[string]registry.Credential{
		"docker login in /home/alice/.docker/config.json (az acr login --name contoso has to renew it by " + end.Format("15:04") + ")": token(end),
		"docker login in /home/alice/.docker/config.json":       token(end.AddDate(0, 1, 0)),
		"docker login of ci in /home/alice/.docker/config.json": {Username: "ci", Password: "hunter2"},
	} {
		found := d.login(credential)
		if got := found.shown + found.note; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestNamedPipeIsNoDockerConfiguration(t *testing.T) {
	d := &dockerLogin{file: filepath.Join(t.TempDir(), "config.json"), host: anyHost}
	if err := unix.Mkfifo(d.file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Credential(t.Context()); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("got %v", err)
	}
}

func TestLoginsOfPodmanComeAfterDockers(t *testing.T) {
	home := t.TempDir()
	write := func(name, user string) {
		file := filepath.Join(home, name)
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":hunter2"))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(`{"auths":{"`+anyHost+`":{"auth":"`+auth+`"}}}`), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	env := authEnvironment{userHome: home, runtimeDir: filepath.Join(home, "run")}
	find := func(env authEnvironment) string {
		found, err := (&sources{host: anyHost, env: env}).docker(t.Context())
		if err != nil {
			return err.Error()
		}
		return strings.ReplaceAll(found.shown, home, "HOME")
	}
	check := func(env authEnvironment, want string) {
		t.Helper()
		if got := find(env); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check(env, errNothing.Error())
	write(".config/containers/auth.json", "config")
	check(env, "podman login of config in HOME/.config/containers/auth.json")
	write("run/containers/auth.json", "runtime")
	check(env, "podman login of runtime in HOME/run/containers/auth.json")
	env.podmanFile = filepath.Join(home, "named.json")
	check(env, errNothing.Error())
	write("named.json", "named")
	check(env, "podman login of named in HOME/named.json")
	write(".docker/config.json", "docker")
	check(env, "docker login of docker in HOME/.docker/config.json")

	if err := os.WriteFile(filepath.Join(home, ".docker/config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := (&sources{host: anyHost, env: env}).docker(t.Context())
	if err != nil || found.tool != "podman" || found.failed == nil || !strings.Contains(found.failed.Error(), "not JSON") {
		t.Errorf("got %+v, %v; want podman's, and what is wrong with docker's", found, err)
	}
	env.sudo = &invoker{name: "alice", home: home, uid: 4242, gid: 4242}
	env.podmanFile = ""
	if got, want := env.podmanFiles(), []string{"/run/user/4242/containers/auth.json", "/run/containers/4242/auth.json", filepath.Join(home, ".config/containers/auth.json")}; !slices.Equal(got, want) {
		t.Errorf("under sudo: got %q, want %q", got, want)
	}
}

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"contoso.azurecr.io":{"auth":"`+user64+`"}},"credsStore":"x"}`), anyHost)
	f.Add([]byte(`{"auths":{"https://contoso.azurecr.io/v1/":{"identitytoken":"t"}},"credHelpers":{"a":"b"}}`), anyHost)
	f.Add([]byte(`{"auths":{"":{"username":"u","password":"p"}}}`), "")
	f.Fuzz(func(t *testing.T, text []byte, host string) {
		config, err := parseDockerConfig(text)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("an error of %d bytes repeats the file", len(err.Error()))
			}
			return
		}
		credential, err := config.login(host)
		if err != nil && len(err.Error()) > 4*len(text)+100 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if (err == nil) == (credential == registry.Credential{}) {
			t.Errorf("got %+v with %v", credential, err)
		}
		config.helper(host)
	})
}
