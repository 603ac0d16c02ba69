package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acrfs/acrfs/fs"
)

// mountFor starts acrfs mount in the foreground on a fresh directory and
// returns when it says that it is mounted.
func mountFor(t *testing.T, url string, flags ...string) (p *process, dir, line string) {
	t.Helper()
	requireMount(t)
	dir = t.TempDir()
	p = start(t, mountCommand(t, url, dir, flags...))
	return p, dir, p.until("mounted ")
}

// mountCommand is acrfs mount with a cache of its own. Whatever is mounted on
// dir goes when the test ends.
func mountCommand(t *testing.T, url, dir string, flags ...string) *exec.Cmd {
	t.Helper()
	detachAtEnd(t, dir)
	args := append([]string{"mount", "--cache-dir", filepath.Join(t.TempDir(), "cache")}, flags...)
	return command(t, append(args, url, dir)...)
}

// serveToCI runs the local registry with its samples, for one user, ci, who may
// do these actions.
func serveToCI(t *testing.T, actions ...string) (url string) {
	t.Helper()
	type user struct {
		Name      string   `json:"name"`
		Passwords []string `json:"passwords"`
		Actions   []string `json:"actions"`
	}
	text, err := json.Marshal(map[string][]user{"users": {{"ci", []string{"hunter2"}, actions}}})
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(users, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, url = serveSeeded(t, "--auth", "basic", "--users", users)
	return url
}

// mountAsCI mounts what serveToCI serves.
func mountAsCI(t *testing.T, url, dir string, flags ...string) *process {
	t.Helper()
	cmd := mountCommand(t, url, dir, flags...)
	cmd.Env = append(cmd.Env, "ACRFS_USERNAME=ci", "ACRFS_PASSWORD=hunter2")
	p := start(t, cmd)
	p.until("mounted ")
	return p
}

func detachAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		for fs.UnmountLazily(dir) == nil {
		}
	})
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(table), " "+dir+" ")
}

// tags lists a repository of the samples through the mount.
func tags(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "library", "hello-world", "_tags"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// eventually waits for what another process does in its own time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen within %v", what, patience)
		}
	}
}

// occupy has a process work in dir until the test, or release, ends it.
func occupy(t *testing.T, dir string) (holder *exec.Cmd, release func()) {
	t.Helper()
	holder = exec.Command("sleep", "600")
	holder.Dir = dir
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	release = func() {
		holder.Process.Kill()
		holder.Wait()
	}
	t.Cleanup(release)
	return holder, release
}

func TestMountSaysWhatItMountedAndEndsOnSignals(t *testing.T) {
	_, url := serveSeeded(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			p, dir, line := mountFor(t, url, "--cache-size", "512M")
			want := regexp.MustCompile(`^mounted ` + url + ` on ` + dir + `: .*anonymous, .*read-only, verify stream, (no )?passthrough, cache \S+/cache with \S+ \S+ of at most 512 MiB\n$`)
			if !want.MatchString(line) {
				t.Errorf("start line %q, want %v", line, want)
			}
			if got := tags(t, dir); !slices.Contains(got, "latest") {
				t.Errorf("tags: got %q, want latest among them", got)
			}
			if status := p.stop(sig); status != exitDone {
				t.Errorf("exit status %d, want %d", status, exitDone)
			}
			if mounted(t, dir) {
				t.Error("still mounted")
			}
		})
	}
}

func TestBusyMountIsDetachedOnSignalAndSaysWhoIsInIt(t *testing.T) {
	_, url := serveSeeded(t)
	p, dir, _ := mountFor(t, url)
	holder, _ := occupy(t, filepath.Join(dir, "library"))
	if status := p.stop(syscall.SIGTERM); status != exitFailed {
		t.Errorf("exit status %d, want %d", status, exitFailed)
	}
	want := fmt.Sprintf("%s is busy: sleep (pid %d) works in %s/library; detached", dir, holder.Process.Pid, dir)
	if !strings.Contains(p.stderr.String(), want) {
		t.Errorf("stderr:\n%s\nwant %q in it", p.stderr, want)
	}
	if mounted(t, dir) {
		t.Error("still mounted")
	}
}

func TestUmountRefusesABusyMountAndEndsAFreeOne(t *testing.T) {
	_, url := serveSeeded(t)
	p, dir, _ := mountFor(t, url)
	holder, release := occupy(t, dir)

	_, stderr, status := runHere(t, "umount", dir)
	want := fmt.Sprintf("acrfs umount: %s is busy: sleep (pid %d) works in %s\n", dir, holder.Process.Pid, dir)
	if status != exitFailed || stderr != want {
		t.Errorf("busy: status %d, stderr %q, want %d, %q", status, stderr, exitFailed, want)
	}
	tags(t, dir) // it stays as it was

	release()
	if stdout, stderr, status := runHere(t, "umount", dir+"/"); status != exitDone || stdout+stderr != "" {
		t.Errorf("free: status %d, output %q", status, stdout+stderr)
	}
	if status := p.status(); status != exitDone {
		t.Errorf("the mount's exit status: %d, want %d", status, exitDone)
	}
	if _, stderr, status := runHere(t, "umount", dir); status != exitFailed || !strings.Contains(stderr, "is not an acrfs mount") {
		t.Errorf("unmounted already: status %d, stderr %q", status, stderr)
	}
}

func TestUmountIsNotInItsOwnWay(t *testing.T) {
	_, url := serveSeeded(t)
	p, dir, _ := mountFor(t, url)
	umount := command(t, "umount", "..")
	umount.Dir = filepath.Join(dir, "library")
	if out, err := umount.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if status := p.status(); status != exitDone {
		t.Errorf("the mount's exit status: %d, want %d", status, exitDone)
	}
}

// TestRefreshOfWhereOneStands: a shell that stood in the directory before it was
// mounted on has the directory and not the mount at ".", and means the mount.
func TestRefreshOfWhereOneStands(t *testing.T) {
	_, url := serveSeeded(t)
	dir := t.TempDir()
	stood := command(t, "refresh", ".")
	stood.Path, stood.Args = "/bin/sh", append([]string{"sh", "-c", `read go; exec "$@"`, "sh"}, stood.Args...)
	stood.Dir = dir
	mountedOver, err := stood.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell := start(t, stood)
	requireMount(t)
	p := start(t, mountCommand(t, url, dir))
	p.until("mounted ")
	fmt.Fprintln(mountedOver, "now")
	if status := shell.status(); status != exitDone {
		t.Errorf("exit status %d, %s", status, shell.stderr)
	}
}

func TestFullDiskDoesNotAskForAnotherCacheDirectory(t *testing.T) {
	const advice = "want a directory"
	for err, advised := range map[error]bool{syscall.ENOSPC: false, syscall.EDQUOT: false, syscall.EACCES: true, syscall.ENOTDIR: true} {
		said := cacheDirError("/c", fmt.Errorf("cache: %w", err)).Error()
		if !strings.HasPrefix(said, `--cache-dir "/c": `) || strings.Contains(said, advice) != advised {
			t.Errorf("%v: got %q", err, said)
		}
	}
}

func TestLazyUmountTakesABusyMountAway(t *testing.T) {
	_, url := serveSeeded(t)
	p, dir, _ := mountFor(t, url)
	_, release := occupy(t, dir)
	if _, stderr, status := runHere(t, "umount", "-l", dir); status != exitDone {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	if mounted(t, dir) {
		t.Error("still mounted")
	}
	release()
	if status := p.status(); status != exitDone {
		t.Errorf("the mount's exit status: %d, want %d", status, exitDone)
	}
}

// runMount runs acrfs mount to its end.
func runMount(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	p := start(t, cmd)
	out, err := io.ReadAll(p.stdout)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	status = p.status() // stderr is whole after it
	return string(out), p.stderr.String(), status
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func TestMountThatCannotBeSaysWhy(t *testing.T) {
	_, url := serveSeeded(t)
	p, taken, _ := mountFor(t, url)
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "<html>It works!</html>")
	}))
	defer web.Close()
	users := filepath.Join(tmp, "users.json")
	if err := os.WriteFile(users, []byte(`{"users":[{"name":"ci","passwords":["right"],"admin":true}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, guarded := serveSeeded(t, "--auth", "basic", "--users", users)
	dead := freeAddress(t)

	for name, row := range map[string]struct {
		url, dir string
		flags    []string
		stdin    string
		status   int
		want     string
	}{
		"no directory":        {url: url, dir: filepath.Join(tmp, "none"), status: exitFailed, want: "does not exist: create it first"},
		"a file":              {url: url, dir: file, status: exitFailed, want: "is not a directory"},
		"not empty":           {url: url, dir: tmp, status: exitFailed, want: "is not empty"},
		"mounted already":     {url: url, dir: taken, status: exitFailed, want: "already mounted by acrfs, with " + strings.TrimPrefix(url, "http://")},
		"nobody answers":      {url: "http://" + dead, status: exitFailed, want: dead},
		"not a registry":      {url: web.URL, status: exitFailed, want: "registry"},
		"a path":              {url: url + "/library", status: exitUsage, want: "library"},
		"no such scheme":      {url: "ftp://example.test", status: exitUsage, want: "ftp"},
		"plain http afar":     {url: "http://registry.example.test", status: exitUsage, want: "--plain-http"},
		"no credentials":      {url: guarded, status: exitFailed, want: "--username NAME --password-stdin"},
		"bad credentials":     {url: guarded, flags: []string{"--username", "ci", "--password-stdin"}, stdin: "wrong-secret", status: exitFailed, want: "credentials"},
		"cache is no place":   {url: url, flags: []string{"--cache-dir", file + "/cache"}, status: exitFailed, want: file},
		"log is no place":     {url: url, flags: []string{"--log-file", tmp}, status: exitFailed, want: "--log-file"},
		"authorities missing": {url: url, flags: []string{"--tls-ca", filepath.Join(tmp, "none.pem")}, status: exitFailed, want: "--tls-ca"},
		"authorities empty":   {url: url, flags: []string{"--tls-ca", file}, status: exitUsage, want: "--tls-ca"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := row.dir
			if dir == "" {
				dir = t.TempDir()
				detachAtEnd(t, dir)
			}
			args := append([]string{"mount", "--cache-dir", filepath.Join(t.TempDir(), "cache")}, row.flags...)
			cmd := command(t, append(args, row.url, dir)...)
			cmd.Stdin = strings.NewReader(row.stdin)
			begin := time.Now()
			stdout, stderr, status := runMount(t, cmd)
			if status != row.status || stdout != "" {
				t.Errorf("status %d, stdout %q, want %d and nothing", status, stdout, row.status)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "acrfs mount: ") || !strings.Contains(stderr, row.want) {
				t.Errorf("stderr %q, want one line with %q", stderr, row.want)
			}
			if strings.Contains(stderr, "secret") {
				t.Errorf("the password is in %q", stderr)
			}
			if took := time.Since(begin); took > 40*time.Second {
				t.Errorf("it took %v to say so", took)
			}
		})
	}
	tags(t, taken) // the mount that was there is none the worse
	p.stop(syscall.SIGINT)
}

func TestInterruptEndsAMountThatWaitsForTheRegistry(t *testing.T) {
	requireMount(t)
	// A server that takes connections and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, flags := range [][]string{nil, {"--daemon"}} {
		dir := t.TempDir()
		p := start(t, mountCommand(t, "http://"+silent.Addr().String(), dir, flags...))
		conn, err := silent.Accept() // it is waiting from here on
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begin := time.Now()
		if status := p.stop(syscall.SIGINT); status != exitFailed {
			t.Errorf("%q: exit status %d, want %d", flags, status, exitFailed)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%q: it took %v to end", flags, took)
		}
		if got := lastLine(p.stderr.String()); got != "acrfs mount: interrupted" {
			t.Errorf("%q: stderr %q", flags, p.stderr)
		}
		if mounted(t, dir) || len(daemons(t, dir)) > 0 {
			t.Errorf("%q: something was left behind", flags)
		}
	}
}

func TestDebugListenServesCounters(t *testing.T) {
	_, url := serveSeeded(t)
	address := freeAddress(t)
	p, dir, _ := mountFor(t, url, "--debug-listen", address)
	tags(t, dir)
	get := func(host string) (*http.Response, counters) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/debug/vars", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var c counters
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
				t.Fatal(err)
			}
		}
		return resp, c
	}
	if _, c := get(address); c.Registry.Exchanges == 0 || c.Cache.Limit == 0 || c.Runtime.Goroutines == 0 {
		t.Errorf("counters are empty: %+v", c)
	}
	if resp, _ := get("evil.example.test:80"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a request to another name: got %s, want 403", resp.Status)
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}
