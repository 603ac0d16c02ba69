package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// jwtText finds any token of Entra's or the registry's: each begins with the
// base64 of {".
var jwtText = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.?`)

// secretsIn fails when what the program wrote or shows holds a secret.
func secretsIn(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{clientSecret, clusterToken, identityHeader, "hunter2", "aHVudGVyMg"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the secret %q", where, secret)
		}
	}
	if token := jwtText.FindString(text); token != "" {
		t.Errorf("%s holds a token that begins with %q", where, token)
	}
}

// cmdlines is what every process shows to everybody. Processes that are not
// ours may end meanwhile.
func cmdlines(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			all.Write(text)
			all.WriteByte('\n')
		}
	}
	return all.String()
}

// allFiles is what all files below dir hold, which are some.
func allFiles(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(file)
		all.Write(text)
		return err
	})
	if err != nil || all.Len() == 0 {
		t.Errorf("%d bytes in %s, %v", all.Len(), dir, err)
	}
	return all.String()
}

// The real credentials of azidentity, each against an authority and endpoints
// that answer as Azure's do.
func TestMountSignsInWithEveryKindOfAzureIdentity(t *testing.T) {
	rig := serveEntra(t)
	machine := rig.plain()
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(clusterToken), 0o600); err != nil {
		t.Fatal(err)
	}
	az := "PATH=" + rig.azureCLI() + ":" + os.Getenv("PATH")
	secret := []string{"AZURE_TENANT_ID=" + tenantID, "AZURE_CLIENT_ID=" + applicationID, "AZURE_CLIENT_SECRET=" + clientSecret}
	workload := []string{"AZURE_TENANT_ID=" + tenantID, "AZURE_CLIENT_ID=" + applicationID, "AZURE_FEDERATED_TOKEN_FILE=" + tokenFile}
	// Of the default chain, without what the tests' own machine may be.
	noMachine := "AZURE_TOKEN_CREDENTIALS=dev"
	for name, row := range map[string]struct {
		auth  []string
		env   []string
		shown string
	}{
		"client secret":            {[]string{"--auth", "environment"}, secret, "Microsoft Entra by the AZURE_… variables as application " + applicationID},
		"workload identity":        {[]string{"--auth", "workload"}, workload, "Microsoft Entra by workload identity as application " + applicationID},
		"identity of App Service":  {[]string{"--auth", "managed"}, []string{"IDENTITY_ENDPOINT=" + machine + "/msi/token", "IDENTITY_HEADER=" + identityHeader}, "Microsoft Entra by managed identity as application " + applicationID},
		"identity of Cloud Shell":  {[]string{"--auth", "managed"}, []string{"MSI_ENDPOINT=" + machine + "/cloudshell/token"}, "Microsoft Entra by managed identity as application " + applicationID},
		"Azure CLI":                {[]string{"--auth", "azcli"}, []string{az}, "Microsoft Entra by the Azure CLI as alice@contoso.com of the Azure CLI"},
		"default chain, secret":    {[]string{"--auth", "entra"}, secret, "Microsoft Entra as application " + applicationID},
		"default chain, workload":  {[]string{"--auth", "entra"}, workload, "Microsoft Entra as application " + applicationID},
		"default chain, Azure CLI": {[]string{"--auth", "entra"}, []string{az, noMachine}, "Microsoft Entra as alice@contoso.com of the Azure CLI"},
		"no flag but the audience": {[]string{"--audience", "https://containerregistry.azure.net"}, secret, "Microsoft Entra as application " + applicationID},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireMount(t)
			dir, log, kept := t.TempDir(), filepath.Join(t.TempDir(), "log"), t.TempDir()
			cmd := mountCommand(t, rig.url, dir, append(row.auth, "--tls-ca", rig.trust, "--log-level", "debug", "--log-file", log, "--cache-dir", kept)...)
			cmd.Env = append(append(cmd.Env, "AZURE_AUTHORITY_HOST="+rig.URL+"/"), row.env...)
			p := start(t, cmd)
			line := p.until("mounted ")
			if !strings.Contains(line, ": "+row.shown+", read-only") {
				t.Errorf("start line %q, want %q in it", line, row.shown)
			}
			if got := tags(t, dir); !slices.Contains(got, "latest") {
				t.Errorf("tags: got %q, want latest among them", got)
			}
			if _, err := os.ReadFile(filepath.Join(dir, "library", "hello-world", "_tags", "latest", "manifest.json")); err != nil {
				t.Error(err)
			}
			shown := cmdlines(t)
			if status := p.stop(syscall.SIGINT); status != exitDone {
				t.Errorf("exit status %d, want %d", status, exitDone)
			}
			written, err := os.ReadFile(log)
			if err != nil || len(written) == 0 {
				t.Fatalf("no log at debug level: %v", err)
			}
			secretsIn(t, "the log", string(written))
			secretsIn(t, "the cache", allFiles(t, kept))
			secretsIn(t, "stdout and stderr", line+p.stderr.String())
			secretsIn(t, "/proc/*/cmdline", shown)
		})
	}
	t.Cleanup(func() { secretsIn(t, "the registry's log", rig.registry.stderr.String()) })
}
