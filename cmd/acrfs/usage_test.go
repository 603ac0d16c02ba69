package main

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// runHere runs the program in this process, for what ends before it mounts.
func runHere(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), status
}

func TestBadUsageIsOneLineAndStatus2(t *testing.T) {
	t.Setenv("ACRFS_USERNAME", "")
	for line, want := range map[string]string{
		"moutn":                              `acrfs: unknown command "moutn": did you mean mount?`,
		"ls":                                 `acrfs: unknown command "ls": see acrfs --help`,
		"help moutn":                         `acrfs help: unknown command "moutn": did you mean mount?`,
		"--verbose":                          `acrfs: unknown flag --verbose: see acrfs --help`,
		"mount":                              `acrfs mount: too few arguments: want acrfs mount myregistry.azurecr.io /mnt/acr`,
		"mount a b c":                        `acrfs mount: too many arguments, from "c" on: want acrfs mount myregistry.azurecr.io /mnt/acr`,
		"mount --cach-dir x a b":             `acrfs mount: unknown flag --cach-dir: did you mean --cache-dir?`,
		"mount --ready a b":                  `acrfs mount: unknown flag --ready: see acrfs mount --help`,
		"mount -x a b":                       `acrfs mount: unknown flag -x: see acrfs mount --help`,
		"mount --cache-size 10Q a b":         `acrfs mount: --cache-size "10Q": want a size like 500M, 10GiB or 20% (of the free disk)`,
		"mount --cache-size 0 a b":           `acrfs mount: --cache-size "0": want a size like 500M, 10GiB or 20% (of the free disk)`,
		"mount --cache-size 101% a b":        `acrfs mount: --cache-size "101%": want a size like 500M, 10GiB or 20% (of the free disk)`,
		"mount --cache-dir= a b":             `acrfs mount: --cache-dir "": want a directory`,
		"mount --metadata-ttl 5 a b":         `acrfs mount: --metadata-ttl "5": want a duration like 500ms, 10s or 5m`,
		"mount --metadata-ttl -5s a b":       `acrfs mount: --metadata-ttl "-5s": want a duration that is not negative`,
		"mount --stale-if-error -1s a b":     `acrfs mount: --stale-if-error "-1s": want a duration that is not negative`,
		"mount --verify no a b":              `acrfs mount: --verify "no": want stream or strict`,
		"mount --log-level loud a b":         `acrfs mount: --log-level "loud": want debug, info, warn or error`,
		"mount --uid root a b":               `acrfs mount: --uid "root": want a number from 0 to 4294967294`,
		"mount --uid":                        `acrfs mount: --uid needs a value: a number from 0 to 4294967294`,
		"mount --tls-ca":                     `acrfs mount: --tls-ca needs a value: a file`,
		"mount --daemon=ja a b":              `acrfs mount: --daemon "ja": want true or false`,
		"mount --debug-listen 0.0.0.0:1 a b": `acrfs mount: --debug-listen "0.0.0.0:1": want a loopback address with a port, like 127.0.0.1:6060: profiles are not for the network`,
		"mount --debug-listen :6060 a b":     `acrfs mount: --debug-listen ":6060": want a loopback address with a port, like 127.0.0.1:6060: profiles are not for the network`,
		"mount --password-stdin a b":         `acrfs mount: --password-stdin needs a user: --username NAME`,
		"mount --username ci a b":            `acrfs mount: user "ci" has no password: give --password-stdin or set ACRFS_PASSWORD`,
		"mount --writable=Team a b":          `acrfs mount: --writable "Team": want a repository like team/app, or no value for all of them`,
		"mount --writable team/app a b":      `acrfs mount: --writable "team/app": want the repository after =, like --writable=team/app`,
		"mount --writable app http://a b":    `acrfs mount: --writable "app": want the repository after =, like --writable=app`,
		"mount --writable team/app b":        `acrfs mount: --writable "team/app": want the repository after =, like --writable=team/app`,
		"mount --dry-run a b":                `acrfs mount: --dry-run needs --writable: a read-only mount changes nothing`,
		"mount --max-deletes 3 a b":          `acrfs mount: --max-deletes needs --writable: a read-only mount changes nothing`,
		"mount --throttle-wait 0s a b":       `acrfs mount: --throttle-wait "0s": want a duration above zero, like 5m`,
		"mount --request-rate 0 a b":         `acrfs mount: --request-rate "0": want requests in a second or a minute like 50 or 900/min`,
		"serve --throttle many":              `acrfs serve: --throttle "many": want requests in a second or a minute like 50 or 900/min`,
		"mount --request-rate 10/h a b":      `acrfs mount: --request-rate "10/h": want requests in a second or a minute like 50 or 900/min`,
		"umount":                             `acrfs umount: too few arguments: want acrfs umount /mnt/acr`,
		"refresh a b":                        `acrfs refresh: too many arguments, from "b" on: want acrfs refresh /mnt/acr`,
		"demo --listen 0.0.0.0:5000":         `acrfs demo: --listen "0.0.0.0:5000": want a loopback address with a port, like 127.0.0.1:5000: the demo's registry lets everyone do everything`,
		"serve here":                         `acrfs serve: too many arguments, from "here" on: want acrfs serve [--root DIR] [--listen ADDRESS]`,
		"serve --listen 5000":                `acrfs serve: --listen "5000": want a host and a port like 127.0.0.1:5000`,
		"serve --bandwidth fast":             `acrfs serve: --bandwidth "fast": want bytes per second like 500K or 25MiB`,
		"serve --tls-cert x.pem":             `acrfs serve: --tls-cert and --tls-key belong together: give both, or --tls-self-signed DIR`,
		"serve --auth basic":                 `acrfs serve: --auth basic needs --users FILE: without it nobody gets in`,
		"serve --users u.json":               `acrfs serve: --users FILE needs --auth basic, anonymous or entra: open lets in everyone`,
		"serve --entra-issuer x":             `acrfs serve: --entra-issuer needs --auth entra: open checks no token of Microsoft Entra's`,
		"serve --entra-audience x":           `acrfs serve: --entra-audience needs --auth entra: open checks no token of Microsoft Entra's`,
		"serve --entra-keys x":               `acrfs serve: --entra-keys needs --auth entra: open checks no token of Microsoft Entra's`,
		"serve --storage-host https://x":     `acrfs serve: --storage-host "https://x": want a host, or a host and a port like registry.example:443`,
		"serve --name https://x":             `acrfs serve: --name "https://x": want a host, or a host and a port like registry.example:443`,
		"version now":                        `acrfs version: too many arguments, from "now" on: want acrfs version`,

		"serve --auth anonymous --users u --entra-keys-ca x": `acrfs serve: --entra-keys-ca needs --auth entra: anonymous checks no token of Microsoft Entra's`,

		// Of several flags that are wrong, the first.
		"mount --max-deletes -1 --metadata-ttl -1s a b": `acrfs mount: --metadata-ttl "-1s": want a duration that is not negative`,
	} {
		t.Run(line, func(t *testing.T) {
			stdout, stderr, status := runHere(t, strings.Fields(line)...)
			if status != exitUsage {
				t.Errorf("status: got %d, want %d", status, exitUsage)
			}
			if diff := cmp.Diff(want+"\n", stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if stdout != "" {
				t.Errorf("stdout: got %q, want nothing", stdout)
			}
		})
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	t.Setenv("HOME", "/home/alice") // a path is not broken
	for _, c := range append(newRoot().Commands(), newRoot()) {
		stdout, _, _ := runHere(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
		for line := range strings.Lines(stdout) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > helpWidth {
				t.Errorf("%s: wider than %d: %s", c.CommandPath(), helpWidth, line)
			}
		}
	}
}

// TestLogFileTellsOfDaemonsWhereThereAreSome: only a mount can be one.
func TestLogFileTellsOfDaemonsWhereThereAreSome(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if f := c.Flags().Lookup("log-file"); f != nil && strings.Contains(f.Usage, "--daemon") != (c.Name() == "mount") {
			t.Errorf("%s: --log-file: %s", c.Name(), f.Usage)
		}
	}
}

// described finds the flags that help tells of, and all it says of each.
var described = regexp.MustCompile(`(?m)^  (?:-[a-z], )?--([a-z-]+)[^\n]*\n((?: {10}[^\n]*\n)+)`)

func TestHelpNamesEveryFlagAndItsDefault(t *testing.T) {
	// Lists, and files and accounts that are read when given, have none to tell.
	without := []string{"help", "import", "users", "tls-ca", "tls-cert", "tls-key", "tls-self-signed"}
	for _, c := range newRoot().Commands() {
		t.Run(c.Name(), func(t *testing.T) {
			stdout, stderr, status := runHere(t, c.Name(), "--help")
			if status != exitDone || stderr != "" {
				t.Fatalf("status %d, stderr %q", status, stderr)
			}
			texts := map[string]string{}
			for _, d := range described.FindAllStringSubmatch(stdout, -1) {
				texts[d[1]] = strings.Join(strings.Fields(d[2]), " ")
			}
			c.Flags().VisitAll(func(f *pflag.Flag) {
				text, shown := texts[f.Name]
				switch {
				case f.Hidden:
					if strings.Contains(stdout, f.Name) {
						t.Errorf("the daemon's own flag is shown: %s", f.Name)
					}
				case !shown:
					t.Errorf("no --%s in:\n%s", f.Name, stdout)
				case !strings.Contains(text, "(default ") && !slices.Contains(without, f.Name):
					t.Errorf("no default: --%s %s", f.Name, text)
				}
			})
		})
	}
}

func TestAloneItPrintsHelp(t *testing.T) {
	stdout, stderr, status := runHere(t)
	if status != exitDone || stderr != "" || !strings.Contains(stdout, "acrfs mount myregistry.azurecr.io /mnt/acr") {
		t.Errorf("got status %d, stderr %q, stdout:\n%s", status, stderr, stdout)
	}
	help, _, _ := runHere(t, "help")
	if diff := cmp.Diff(stdout, help); diff != "" {
		t.Errorf("acrfs help differs:\n%s", diff)
	}
}

func TestVersionNamesProgramAndGo(t *testing.T) {
	for _, asked := range []string{"version", "--version"} {
		stdout, _, status := runHere(t, asked)
		if status != exitDone || !strings.HasPrefix(stdout, "acrfs ") || !strings.Contains(stdout, " go1.") || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s: got status %d, %q", asked, status, stdout)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"mount", "mount", 0}, {"moutn", "mount", 1},
		{"unmount", "umount", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := distance(row.a, row.b); got != row.want {
			t.Errorf("distance(%q, %q) = %d, want %d", row.a, row.b, got, row.want)
		}
		if got := distance(row.b, row.a); got != row.want {
			t.Errorf("distance(%q, %q) = %d, want %d", row.b, row.a, got, row.want)
		}
	}
}

func TestErrorsOfOthersDoNotSteerTheTerminal(t *testing.T) {
	if got, want := oneLine(errors.New("bad \x1b[31m red \a\u202ething\r\n\tend  é")), "bad [31m red thing end é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
