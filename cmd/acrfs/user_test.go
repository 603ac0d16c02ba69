package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is an ordinary user without anything.
const nobody = 65534

// asNobody starts a command line as nobody. A device that only root may open
// is replaced by one for everybody, in a mount namespace that nobody else sees.
const asNobody = `set -eu
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mknod -m 666 "$1/fuse" c 10 229
	mount --bind "$1/fuse" /dev/fuse
fi
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"`

func TestOrdinaryUserHasTheDemoToo(t *testing.T) {
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
	program, home := filepath.Join(room, "acrfs"), filepath.Join(room, "home")
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chmod(room, 0o755),
		os.WriteFile(program, binary, 0o755),
		os.Mkdir(home, 0o700),
		os.Chown(home, nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := command(t, "demo")
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", asNobody, "sh", room, program}, cmd.Args[1:]...)
	cmd.Env = append(cmd.Env, "HOME="+home, "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	p := start(t, cmd)
	dir, commands := demoSaid(t, p.until("Ctrl-C"))
	for _, line := range commands {
		inside := exec.CommandContext(t.Context(), "nsenter", "-t", fmt.Sprint(p.Process.Pid), "-m",
			"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "sh", "-euc", line)
		if out, err := inside.CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	checkNothingLeft(t, home, dir)
	if said := p.stderr.String(); strings.TrimSpace(said) != "" {
		t.Errorf("stderr: %s", said)
	}
}
