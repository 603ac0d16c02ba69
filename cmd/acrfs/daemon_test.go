package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemons are the processes that serve dir in the background.
func daemons(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), "--ready-fd=") && strings.Contains(string(line), "\x00"+dir+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// startDaemonFor mounts url on a fresh directory with --daemon and returns the
// daemon's process id.
func startDaemonFor(t *testing.T, url string, flags ...string) (dir string, pid int) {
	t.Helper()
	requireMount(t)
	dir = t.TempDir()
	stdout, stderr, status := runMount(t, mountCommand(t, url, dir, append([]string{"--daemon"}, flags...)...))
	if status != exitDone || !strings.HasPrefix(stdout, "mounted "+url+" on "+dir) || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	pids := daemons(t, dir)
	if len(pids) != 1 {
		t.Fatalf("daemons: %v, want one", pids)
	}
	t.Cleanup(func() { syscall.Kill(pids[0], syscall.SIGKILL) })
	return dir, pids[0]
}

func TestDaemonReturnsWhenTheMountIsUsable(t *testing.T) {
	_, url := serveSeeded(t)
	log := filepath.Join(t.TempDir(), "log")
	dir, pid := startDaemonFor(t, url, "--log-file", log, "--log-format", "json")
	if got := tags(t, dir); !slices.Contains(got, "latest") {
		t.Errorf("tags: got %q, want latest among them", got)
	}

	// It holds nothing of its caller's: session, directory, files.
	if sid, err := syscall.Getpgid(pid); err != nil || sid != pid {
		t.Errorf("process group %d, %v, want its own, %d", sid, err, pid)
	}
	for name, want := range map[string]string{"cwd": "/", "fd/0": os.DevNull, "fd/1": log, "fd/2": log} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}

	if _, stderr, status := runHere(t, "umount", dir); status != exitDone {
		t.Errorf("umount: status %d, %s", status, stderr)
	}
	eventually(t, "the daemon's end", func() bool { return len(daemons(t, dir)) == 0 })
	records, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(records)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(string(records), "unmounted") {
		t.Errorf("log without its end:\n%s", records)
	}
}

func TestListingsAreForgottenOnRefreshAndOnHangupOfADaemon(t *testing.T) {
	_, url := serveSeeded(t)
	dir, pid := startDaemonFor(t, url, "--metadata-ttl", "1h")
	if slices.Contains(tags(t, dir), "pushed1") {
		t.Fatal("the tag is there already")
	}
	for i, forget := range []func(){
		func() {
			if _, stderr, status := runHere(t, "refresh", dir); status != exitDone {
				t.Errorf("refresh: status %d, %s", status, stderr)
			}
		},
		func() { syscall.Kill(pid, syscall.SIGHUP) },
	} {
		tag := fmt.Sprintf("pushed%d", i)
		pushTag(t, url, tag)
		if slices.Contains(tags(t, dir), tag) {
			t.Fatalf("%s shows within --metadata-ttl", tag)
		}
		forget()
		eventually(t, "the new tag", func() bool { return slices.Contains(tags(t, dir), tag) })
	}
	if _, stderr, status := runHere(t, "refresh", t.TempDir()); status != exitFailed || strings.Count(stderr, "\n") != 1 {
		t.Errorf("refresh of no mount: status %d, stderr %q", status, stderr)
	}
}

// ignoringHangups runs a command as nohup does.
func ignoringHangups(cmd *exec.Cmd) *exec.Cmd {
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, cmd.Args...)
	return cmd
}

// TestHangupsUnderNohup: a mount in the foreground survives them; to a daemon they
// are what they always are, since cron jobs and init scripts run under nohup.
func TestHangupsUnderNohup(t *testing.T) {
	requireMount(t)
	_, url := serveSeeded(t)
	t.Run("foreground", func(t *testing.T) {
		dir := t.TempDir()
		p := start(t, ignoringHangups(mountCommand(t, url, dir)))
		p.until("mounted ")
		p.Process.Signal(syscall.SIGHUP)
		select {
		case <-p.ended:
			t.Error("a hangup ended it")
		case <-time.After(time.Second):
			tags(t, dir)
		}
		if status := p.stop(syscall.SIGTERM); status != exitDone {
			t.Errorf("exit status %d", status)
		}
	})
	t.Run("daemon", func(t *testing.T) {
		dir := t.TempDir()
		if _, stderr, status := runMount(t, ignoringHangups(mountCommand(t, url, dir, "--daemon", "--metadata-ttl", "1h"))); status != exitDone {
			t.Fatalf("status %d, stderr %q", status, stderr)
		}
		pid := daemons(t, dir)[0]
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
		tags(t, dir)
		pushTag(t, url, "under-nohup")
		syscall.Kill(pid, syscall.SIGHUP)
		eventually(t, "the new tag", func() bool { return slices.Contains(tags(t, dir), "under-nohup") })
	})
}

// pushTag puts the manifest behind latest under another tag, as any client
// does.
func pushTag(t *testing.T, url, tag string) {
	t.Helper()
	do := func(method, path, token string, body io.Reader, contentType string) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, data)
		}
		return resp, data
	}
	host := strings.TrimPrefix(url, "http://")
	_, answer := do("GET", "/oauth2/token?service="+host+"&scope=repository:library/hello-world:pull,push", "", nil, "")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &token); err != nil {
		t.Fatal(err)
	}
	resp, manifest := do("GET", "/v2/library/hello-world/manifests/latest", token.AccessToken, nil, "")
	do("PUT", "/v2/library/hello-world/manifests/"+tag, token.AccessToken, strings.NewReader(string(manifest)), resp.Header.Get("Content-Type"))
}

func TestDaemonThatCannotStartPassesItsErrorOn(t *testing.T) {
	requireMount(t)
	dir := t.TempDir()
	address := freeAddress(t)
	stdout, stderr, status := runMount(t, mountCommand(t, "http://"+address, dir, "--daemon"))
	if status != exitFailed || stdout != "" {
		t.Errorf("status %d, stdout %q, want %d and nothing", status, stdout, exitFailed)
	}
	if !strings.Contains(stderr, address) || !strings.HasPrefix(lastLine(stderr), "acrfs mount: ") {
		t.Errorf("stderr %q, want a line about %s", stderr, address)
	}
	if mounted(t, dir) || len(daemons(t, dir)) > 0 {
		t.Error("something was left behind")
	}
}

// TestDaemonIsNotWaitedForByWhatAHelperLeftBehind: agents of credential helpers live
// on when the start has failed.
func TestDaemonIsNotWaitedForByWhatAHelperLeftBehind(t *testing.T) {
	requireMount(t)
	home := t.TempDir()
	pidFile := filepath.Join(home, "pid")
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"credsStore":"two"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	path := script(t, "docker-credential-two", "setsid sleep 20 >/dev/null 2>&1 </dev/null & echo $! >"+pidFile+"; echo bad; exit 1")
	cmd := mountCommand(t, "http://"+freeAddress(t), t.TempDir(), "--daemon")
	cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+home, "PATH="+path+":"+os.Getenv("PATH"))
	_, stderr, status := runMount(t, cmd)
	if status != exitFailed || !strings.Contains(stderr, "docker-credential-two: bad") {
		t.Errorf("status %d, stderr %q, want %d and what the helper said", status, stderr, exitFailed)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	// A process that has ended has no command line, reaped or not.
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(line) == 0 {
		t.Fatalf("it returned when the helper's agent had ended: %q, %v", line, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestMountRepairsWhatAKilledDaemonLeft(t *testing.T) {
	_, url := serveSeeded(t)
	dir, pid := startDaemonFor(t, url)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// A process that is being killed has no command line any more while the
	// kernel still closes its files.
	eventually(t, "ENOTCONN from a killed daemon's mount", func() bool {
		_, err := os.ReadDir(dir)
		return errors.Is(err, syscall.ENOTCONN)
	})
	want := fmt.Sprintf("acrfs refresh: %s: the acrfs behind it was killed: mount it again, or run acrfs umount %s\n", dir, dir)
	if _, stderr, status := runHere(t, "refresh", dir); status != exitFailed || stderr != want {
		t.Errorf("refresh: status %d, %swant %s", status, stderr, want)
	}
	p := start(t, mountCommand(t, url, dir))
	if said := p.until("mounted "); !strings.Contains(said, "detached the dead mount that a killed acrfs left on "+dir+"\n") {
		t.Errorf("it did not say so: %q", said)
	}
	tags(t, dir)
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}

func TestPasswordFromStdinReachesTheDaemon(t *testing.T) {
	requireMount(t)
	users := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(users, []byte(`{"users":[{"name":"ci","passwords":["right"],"admin":true}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := serveSeeded(t, "--auth", "basic", "--users", users)
	dir := t.TempDir()
	cmd := mountCommand(t, url, dir, "--daemon", "--username", "ci", "--password-stdin")
	cmd.Stdin = strings.NewReader("right\n")
	stdout, stderr, status := runMount(t, cmd)
	if status != exitDone || !strings.Contains(stdout, "user ci") {
		t.Fatalf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	tags(t, dir)
	for _, pid := range daemons(t, dir) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || strings.Contains(string(line), "right") {
			t.Errorf("command line %q, %v", line, err)
		}
	}
	if _, stderr, status := runHere(t, "umount", dir); status != exitDone {
		t.Errorf("umount: status %d, %s", status, stderr)
	}
}

func TestDaemonGetsItsCallersFlags(t *testing.T) {
	cmd := newMount()
	given := []string{"--repository=a/b", "--repository=c,d", "--writable=*", "--auth=docker", "--daemon=true"}
	if err := cmd.ParseFlags(given); err != nil {
		t.Fatal(err)
	}
	got := daemonArgs(cmd, []string{"host", "dir"})
	want := slices.Concat([]string{"mount", "--ready-fd=3"}, given, []string{"--", "host", "dir"})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
