package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tunnel is a proxy that leads every https host to one address, so that a
// registry of ours is called contoso.azurecr.io.
func tunnel(t *testing.T, to string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only https", http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(up, buffered)
			up.Close()
		}()
		io.Copy(down, up)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// mountContoso is acrfs mount of the rig under Azure's kind of name, for
// someone with the given variables and docker configuration and no identity of
// the machine's own.
func mountContoso(t *testing.T, rig *azureRig, dir string, env []string, docker string, flags ...string) (cmd *commandAtHome) {
	t.Helper()
	c := mountCommand(t, "contoso.azurecr.io", dir, append(flags, "--tls-ca", rig.trust)...)
	home := t.TempDir()
	c.Env = append(c.Env, "HOME="+home, "DOCKER_CONFIG=", "AZURE_TOKEN_CREDENTIALS=dev", "PATH="+script(t, "true", "exit 0")+":/bin:/usr/bin",
		"HTTPS_PROXY="+tunnel(t, strings.TrimPrefix(rig.url, "https://")), "https_proxy=", "NO_PROXY=", "no_proxy=", "SUDO_UID=")
	c.Env = append(c.Env, env...)
	if docker != "" {
		if err := os.MkdirAll(filepath.Join(home, ".docker"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(docker), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &commandAtHome{start: func() *process { return start(t, c) }, home: home}
}

type commandAtHome struct {
	start func() *process
	home  string
}

// contosoUsers lets a user with a password in beside Entra's identities.
func contosoUsers(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.json")
	users := `{"users":[{"name":"ci","passwords":["hunter2"],"admin":true},{"name":"entra","entra":"an-object","admin":true}]}`
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMountTakesTheFirstSourceThatHasACredential(t *testing.T) {
	requireMount(t)
	rig := serveEntra(t, "--name", "contoso.azurecr.io", "--users", contosoUsers(t), "--direct-blobs")
	az := []string{"PATH=" + rig.azureCLI() + ":/bin:/usr/bin"}
	given := []string{"ACRFS_USERNAME=ci", "ACRFS_PASSWORD=hunter2"}
	docker := `{"auths":{"contoso.azurecr.io":{"auth":"Y2k6aHVudGVyMg=="}}}`
	for name, row := range map[string]struct {
		flags, env []string
		docker     string
		shown      string // HOME stands for the home directory
	}{
		"given before all":    {env: append(given, az...), docker: docker, shown: "user ci"},
		"docker before Entra": {env: az, docker: docker, shown: "docker login of ci in HOME/.docker/config.json"},
		"Entra when docker has nothing": {env: az, docker: `{"auths":{"other":{"auth":"Y2k6aHVudGVyMg=="}}}`,
			shown: "Microsoft Entra as alice@contoso.com of the Azure CLI"},
		"docker fails, Entra works": {env: az, docker: `{"credsStore":"nowhere"}`,
			shown: "Microsoft Entra as alice@contoso.com of the Azure CLI"},
		"named": {flags: []string{"--auth", "azcli"}, env: append(given, az...), docker: docker,
			shown: "Microsoft Entra by the Azure CLI as alice@contoso.com of the Azure CLI"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := mountContoso(t, rig, dir, row.env, row.docker, append(row.flags, "--log-level", "debug")...)
			p := cmd.start()
			line := p.until("mounted ")
			want := ": " + strings.ReplaceAll(row.shown, "HOME", cmd.home) + ", read-only"
			if !strings.HasPrefix(line, "mounted contoso.azurecr.io on ") || !strings.Contains(line, want) {
				t.Errorf("start line %q, want %q in it", line, want)
			}
			tags(t, dir)
			if status := p.stop(syscall.SIGINT); status != exitDone {
				t.Errorf("exit status %d", status)
			}
			if failed := strings.Contains(p.stderr.String(), "docker-credential-nowhere"); failed != strings.Contains(row.docker, "nowhere") {
				t.Errorf("a source that failed is named, others are not; stderr:\n%s", p.stderr)
			}
			if told := strings.Contains(p.stderr.String(), "ABAC"); told != strings.HasPrefix(row.shown, "Microsoft Entra") {
				t.Errorf("rights per repository are told to Entra's identities, and only to them; stderr:\n%s", p.stderr)
			}
			secretsIn(t, "stdout and stderr", line+p.stderr.String())
		})
	}
}

// A credential that was found and refused, or that could not be had, ends the
// mount: with less than the user's rights a backup would lose files.
func TestMountIsNotAnonymousBecauseOfAFailure(t *testing.T) {
	requireMount(t)
	rig := serveEntra(t, "--name", "contoso.azurecr.io", "--users", contosoUsers(t))
	expiredCLI := "PATH=" + script(t, "az", `echo "ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 1" >&2; exit 1`) + ":/bin:/usr/bin"
	half := []string{"AZURE_CLIENT_ID=" + applicationID, "AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH="}
	for name, row := range map[string]struct {
		flags, env []string
		docker     string
		want       string
	}{
		"docker login refused": {docker: `{"auths":{"contoso.azurecr.io":{"auth":"Y2k6d3Jvbmc="}}}`,
			want: "acrfs mount: contoso.azurecr.io refused the docker login of ci in HOME/.docker/config.json (401: credentials refused): run az acr login --name contoso\n"},
		"helper missing": {docker: `{"credsStore":"nowhere"}`,
			want: `acrfs mount: the docker login cannot be read: docker-credential-nowhere, which HOME/.docker/config.json names: exec: "docker-credential-nowhere": executable file not found in $PATH (or give --auth anonymous)` + "\n"},
		"Azure CLI expired": {env: []string{expiredCLI},
			want: "acrfs mount: contoso.azurecr.io: the Azure CLI login has expired (AADSTS700082: The refresh token has expired due to inactivity.): run az login (or give --auth anonymous)\n"},
		"certificate that is not there": {env: append(half, "AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "AZURE_TENANT_ID="+tenantID, "AZURE_CLIENT_CERTIFICATE_PATH=/nowhere.pem"),
			want: `acrfs mount: contoso.azurecr.io: Microsoft Entra gave no token: EnvironmentCredential: failed to read certificate file "/nowhere.pem": open /nowhere.pem: no such file or directory (or give --auth anonymous)` + "\n"},
		"half a service principal": {env: append(half, "AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "AZURE_TENANT_ID=", "AZURE_CLIENT_SECRET="+clientSecret),
			want: "acrfs mount: contoso.azurecr.io: Microsoft Entra gave no token: EnvironmentCredential: AZURE_CLIENT_SECRET is set, but not both AZURE_TENANT_ID and AZURE_CLIENT_ID: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH (or give --auth anonymous)\n"},
		"pod without an identity": {env: []string{"AZURE_TOKEN_CREDENTIALS=WorkloadIdentityCredential", "AZURE_TENANT_ID=" + tenantID, "AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH=", "AZURE_FEDERATED_TOKEN_FILE=/nowhere"},
			want: "acrfs mount: contoso.azurecr.io: Microsoft Entra gave no token: WorkloadIdentityCredential: AZURE_FEDERATED_TOKEN_FILE is set, but not both AZURE_TENANT_ID and AZURE_CLIENT_ID: the pod needs the label azure.workload.identity/use: \"true\" and a service account with an identity (or give --auth anonymous)\n"},
		"authority without https": {env: append(half, "AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "AZURE_TENANT_ID="+tenantID, "AZURE_CLIENT_SECRET="+clientSecret, "AZURE_AUTHORITY_HOST=login.microsoftonline.com"),
			want: "acrfs mount: contoso.azurecr.io: Microsoft Entra gave no token: EnvironmentCredential: cannot use an authority host without https (or give --auth anonymous)\n"},
		"unknown part of the chain": {env: []string{"AZURE_TOKEN_CREDENTIALS=nobody"},
			want: `acrfs mount: contoso.azurecr.io: Microsoft Entra gave no token: invalid AZURE_TOKEN_CREDENTIALS value "nobody". Valid values are "dev", "prod", or the name of any credential type in the default chain. See https://aka.ms/azsdk/go/identity/docs#DefaultAzureCredential for more information (or give --auth anonymous)` + "\n"},
		"nothing anywhere": {
			want: "acrfs mount: contoso.azurecr.io lets nobody in without a login: anonymous pull is off (401: anonymous access refused; credentials are needed), and there is no credential: no login for it in HOME/.docker/config.json, no Microsoft Entra identity here: run az acr login --name contoso, or az login\n"},
		"docker named, without a login": {flags: []string{"--auth", "docker"},
			want: "acrfs mount: --auth docker: no login for contoso.azurecr.io in HOME/.docker/config.json: run az acr login --name contoso\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := mountContoso(t, rig, dir, row.env, row.docker, row.flags...)
			p := cmd.start()
			if status := p.status(); status != exitFailed {
				t.Errorf("exit status %d, want %d", status, exitFailed)
			}
			if want := strings.ReplaceAll(row.want, "HOME", cmd.home); p.stderr.String() != want {
				t.Errorf("got  %s\nwant %s", p.stderr, want)
			}
			if mounted(t, dir) {
				t.Error("it is mounted")
			}
		})
	}
}

// az acr login in another terminal is all that a mount waits for.
func TestMountThatMayStartUnauthenticatedGetsInLater(t *testing.T) {
	requireMount(t)
	rig := serveEntra(t, "--name", "contoso.azurecr.io", "--users", contosoUsers(t), "--direct-blobs")
	dir := t.TempDir()
	cmd := mountContoso(t, rig, dir, nil, `{"auths":{"contoso.azurecr.io":{"auth":"Y2k6d3Jvbmc="}}}`, "--allow-unauthenticated-start", "--metadata-ttl", "1h")
	p := cmd.start()
	// A daemon has no other way to say so.
	if line := p.until("mounted "); !strings.Contains(line, "/.docker/config.json (not in yet: contoso.azurecr.io refused the docker login of ci in ") {
		t.Errorf("start line %q does not say that nobody is in", line)
	}
	if _, err := os.ReadDir(dir); err == nil {
		t.Error("a registry that refuses us could be listed")
	}
	if !strings.Contains(p.stderr.String(), "refused the docker login") {
		t.Errorf("the log does not say why; stderr:\n%s", p.stderr)
	}
	if err := os.WriteFile(filepath.Join(cmd.home, ".docker", "config.json"), []byte(`{"auths":{"contoso.azurecr.io":{"auth":"Y2k6aHVudGVyMg=="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "signing in", func() bool { return strings.Contains(p.stderr.String(), "signed in") })
	tags(t, dir)
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}

	// It ends as promptly when it never gets in.
	cmd = mountContoso(t, rig, t.TempDir(), []string{"ACRFS_USERNAME=ci", "ACRFS_PASSWORD=wrong"}, "", "--allow-unauthenticated-start")
	p = cmd.start()
	p.until("mounted ")
	began := time.Now()
	if status := p.stop(syscall.SIGINT); status != exitDone || time.Since(began) > 30*time.Second {
		t.Errorf("exit status %d after %v", status, time.Since(began))
	}
}

// A token for some repositories cannot list them; they are walked by name, and
// those that the user names are listed.
func TestMountOfARegistryThatHidesItsCatalog(t *testing.T) {
	requireMount(t)
	url := serveToCI(t, "repositories/library/hello-world/content/read", "repositories/library/hello-world/metadata/read")
	for name, flags := range map[string][]string{"by name": nil, "listed": {"--repository", "library/hello-world", "--repository", "library/secret"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := mountAsCI(t, url, dir, flags...)
			if flags == nil {
				if _, err := os.ReadDir(dir); !os.IsPermission(err) {
					t.Errorf("listing all: got %v, want EACCES", err)
				}
			}
			tags(t, dir)
			if flags != nil {
				entries, err := os.ReadDir(filepath.Join(dir, "library"))
				if err != nil || len(entries) != 2 || entries[0].Name() != "hello-world" {
					t.Errorf("got %v, %v", entries, err)
				}
				if _, err := os.ReadDir(filepath.Join(dir, "library", "secret", "_tags")); !os.IsPermission(err) {
					t.Errorf("a repository without rights: got %v, want EACCES", err)
				}
			}
			if status := p.stop(syscall.SIGINT); status != exitDone {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// Rights differ per repository: what may not be read is EACCES when it is, and is
// listed where the catalog lists it, so that nobody takes it for deleted.
func TestRepositoryWithoutRightsIsListedAllTheSame(t *testing.T) {
	requireMount(t)
	url := serveToCI(t, "repositories/*/metadata/read", "repositories/library/hello-world/content/read")
	dir := t.TempDir()
	p := mountAsCI(t, url, dir)
	if _, err := os.ReadFile(filepath.Join(dir, "library", "hello-world", "_tags", "latest", "manifest.json")); err != nil {
		t.Error(err)
	}
	others, err := filepath.Glob(filepath.Join(dir, "[^l]*", "*", "_tags", "*"))
	if err != nil || len(others) == 0 {
		t.Fatalf("listed without the right to read: %q, %v", others, err)
	}
	for _, tag := range others {
		if _, err := os.ReadFile(filepath.Join(tag, "manifest.json")); !os.IsPermission(err) {
			t.Errorf("%s: got %v, want EACCES", tag, err)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}
}

// Looking for a login may wait for other programs, and Ctrl-C ends that.
func TestLookingForALoginEndsAtCtrlC(t *testing.T) {
	requireMount(t)
	for name, flags := range map[string][]string{
		"credential helper": {"--auth", "docker"},
		"first source":      {"--auth", "auto"},
		"Azure CLI":         {"--auth", "azcli"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"credsStore":"slow"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			// Both note that they were begun, and end by themselves some day.
			begun := filepath.Join(home, "begun")
			path := script(t, "docker-credential-slow", "touch "+begun+"; exec sleep 20") + ":" + script(t, "az", "touch "+begun+"; exec sleep 20")
			cmd := mountCommand(t, "contoso.azurecr.io", t.TempDir(), flags...)
			cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+home, "PATH="+path+":/bin:/usr/bin")
			p := start(t, cmd)
			eventually(t, "the search", func() bool {
				_, err := os.Stat(begun)
				return err == nil
			})
			if status := p.stop(syscall.SIGINT); status != exitFailed || p.stderr.String() != "acrfs mount: interrupted\n" {
				t.Errorf("exit status %d, it said %q", status, p.stderr)
			}
		})
	}
}
