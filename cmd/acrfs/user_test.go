package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ordinary is an ordinary user without anything but a home, and with a device
// for mounting that everybody may open.
type ordinary struct {
	t       *testing.T
	program string // this test binary, where the user may run it
	home    string
	holder  int // keeps the mount namespace, which nobody else sees
}

const (
	// nobody is the user's id.
	nobody = 65534
	// keepRoom is a shell's part: it makes what the user may mount with, and stays.
	keepRoom = `set -eu
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mknod -m 666 "$1/fuse" c 10 229
	mount --bind "$1/fuse" /dev/fuse
fi
echo made
exec sleep 600`
)

func ordinaryUser(t *testing.T) *ordinary {
	t.Helper()
	requireMount(t)
	if os.Geteuid() != 0 {
		t.Skip("not root: every other test shows it")
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	// Test binaries and t.TempDir are closed to other users.
	room, err := os.MkdirTemp("", "acrfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(room) })
	u := &ordinary{t: t, program: filepath.Join(room, "acrfs"), home: filepath.Join(room, "home")}
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chmod(room, 0o755),
		os.WriteFile(u.program, binary, 0o755),
		os.Mkdir(u.home, 0o700),
		os.Chown(u.home, nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	keep := exec.CommandContext(t.Context(), "sh", "-c", keepRoom, "sh", room)
	keep.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	p := start(t, keep)
	p.until("made")
	u.holder = p.Process.Pid
	return u
}

// run returns a program with its arguments, not started, as the user's.
func (u *ordinary) run(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(u.t.Context(), "nsenter", append([]string{"-t", fmt.Sprint(u.holder), "-m",
		"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+u.home, "TMPDIR="+u.home)
	return cmd
}

// acrfs is command, as the user's.
func (u *ordinary) acrfs(args ...string) *exec.Cmd {
	cmd, inside := command(u.t, args...), u.run(append([]string{u.program}, args...)...)
	cmd.Path, cmd.Args = inside.Path, inside.Args
	cmd.Env = append(cmd.Env, "HOME="+u.home, "TMPDIR="+u.home)
	return cmd
}

// mounted tells whether something is mounted on dir where the user is.
func (u *ordinary) mounted(dir string) bool {
	u.t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", u.holder))
	if err != nil {
		u.t.Fatal(err)
	}
	return strings.Contains(string(table), " "+dir+" ")
}

func TestOrdinaryUserHasTheDemoToo(t *testing.T) {
	u := ordinaryUser(t)
	p := start(t, u.acrfs("demo"))
	dir, commands := demoSaid(t, p.until("Ctrl-C"))
	for _, line := range commands {
		if out, err := u.run("sh", "-euc", line).CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	checkNothingLeft(t, u.home, dir)
	if u.mounted(dir) {
		t.Errorf("%s is still mounted", dir)
	}
	if said := p.stderr.String(); strings.TrimSpace(said) != "" {
		t.Errorf("stderr: %s", said)
	}
}

// TestSignalThatComesTwiceUnmountsAllTheSame: timeout(1) signals the program and
// then the program's group, fusermount3 in it; a hand on Ctrl-C does so as well.
func TestSignalThatComesTwiceUnmountsAllTheSame(t *testing.T) {
	_, url := serveSeeded(t)
	twice := func(t *testing.T, p *process, sig syscall.Signal, between time.Duration) (status int) {
		t.Helper()
		p.Process.Signal(sig)
		time.Sleep(between)
		syscall.Kill(-p.Process.Pid, sig)
		return p.status()
	}
	startGroup := func(t *testing.T, cmd *exec.Cmd) *process {
		t.Helper()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p := start(t, cmd)
		p.until("mounted ")
		return p
	}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	t.Run("busy", func(t *testing.T) {
		requireMount(t)
		for _, sig := range signals {
			dir := t.TempDir()
			p := startGroup(t, mountCommand(t, url, dir))
			occupy(t, dir)
			if status := twice(t, p, sig, 50*time.Millisecond); status != exitFailed {
				t.Errorf("%v: exit status %d (%v), want %d", sig, status, p.ProcessState, exitFailed)
			}
			if mounted(t, dir) {
				t.Errorf("%v: still mounted", sig)
			}
		}
	})
	t.Run("with fusermount3", func(t *testing.T) {
		u := ordinaryUser(t)
		dir := filepath.Join(u.home, "mnt")
		if err := u.run("mkdir", dir).Run(); err != nil {
			t.Fatal(err)
		}
		for i := range 9 {
			p := startGroup(t, u.acrfs("mount", url, dir))
			sig, between := signals[i%3], time.Duration(i)*200*time.Microsecond
			if status := twice(t, p, sig, between); status != exitDone {
				t.Errorf("%v, again after %v: exit status %d (%v), want %d", sig, between, status, p.ProcessState, exitDone)
			}
			if u.mounted(dir) {
				t.Errorf("%v, again after %v: still mounted", sig, between)
				u.run("fusermount3", "-uz", dir).Run()
			}
		}
	})
}
