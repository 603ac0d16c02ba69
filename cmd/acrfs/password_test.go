package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo terminal: what is typed is written to keys, and what
// a program on screen shows is read from it.
func terminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keys, screen
}

func hidden(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO == 0
}

// A name alone, at a terminal, asks for the password and does not show it; in
// the background, too.
func TestPasswordIsTypedUnseenAtATerminal(t *testing.T) {
	requireMount(t)
	_, url := serveSeeded(t, "--auth", "basic", "--users", contosoUsers(t))
	for _, flag := range []string{"--log-level=info", "--password-stdin", "--daemon"} {
		t.Run(flag, func(t *testing.T) {
			keys, screen := terminal(t)
			dir := t.TempDir()
			cmd := mountCommand(t, url, dir, "--username", "ci", flag)
			cmd.Stdin = screen
			p := start(t, cmd)
			eventually(t, "the prompt", func() bool { return strings.Contains(p.stderr.String(), "Password of ci: ") && hidden(t, screen) })
			if _, err := keys.WriteString("hunter2\n"); err != nil {
				t.Fatal(err)
			}
			if line := p.until("mounted "); !strings.Contains(line, "user ci") {
				t.Errorf("start line %q", line)
			}
			tags(t, dir)
			if hidden(t, screen) {
				t.Error("the terminal still hides what is typed")
			}
			if flag != "--daemon" {
				if status := p.stop(syscall.SIGINT); status != exitDone {
					t.Errorf("exit status %d", status)
				}
				return
			}
			if status := p.status(); status != exitDone {
				t.Errorf("exit status %d", status)
			}
			if out, err := command(t, "umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount: %v, %s", err, out)
			}
		})
	}
}

// Whoever changes their mind at the prompt, or in front of a pipe that never
// ends, needs one Ctrl-C.
func TestWaitingForAPasswordEndsAtCtrlC(t *testing.T) {
	requireMount(t)
	for _, where := range []string{"terminal", "pipe", "pipe, daemon"} {
		t.Run(where, func(t *testing.T) {
			flags := []string{"--username", "ci", "--password-stdin"}
			if strings.Contains(where, "daemon") {
				flags = append(flags, "--daemon")
			}
			cmd := mountCommand(t, "http://127.0.0.1:1", t.TempDir(), flags...)
			_, screen := terminal(t)
			cmd.Stdin = screen
			waits := func() bool { return hidden(t, screen) }
			if where != "terminal" {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Close(); w.Close() })
				if _, err := w.WriteString("half a"); err != nil {
					t.Fatal(err)
				}
				cmd.Stdin = r
				waits = func() bool {
					unread, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
					return err == nil && unread == 0
				}
			}
			p := start(t, cmd)
			eventually(t, "waiting for the password", waits)
			if status := p.stop(syscall.SIGINT); status != exitFailed {
				t.Errorf("exit status %d, want %d", status, exitFailed)
			}
			if said := p.stderr.String(); strings.TrimPrefix(said, "Password of ci: \n") != "acrfs mount: interrupted\n" {
				t.Errorf("it said %q", said)
			}
			if where == "terminal" && hidden(t, screen) {
				t.Error("the terminal still hides what is typed")
			}
		})
	}
}

// What a mount was given is not found in a core dump, nor in the environment
// of the programs that it runs.
func TestMountKeepsItsSecretsToItself(t *testing.T) {
	requireMount(t)
	_, url := serveSeeded(t)
	home, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"credsStore":"nosy"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	helper := script(t, "docker-credential-nosy", `env >`+home+`/seen; echo '{"Username":"ci","Secret":"other"}'`)
	cmd := mountCommand(t, url, dir, "--auth", "docker")
	cmd.Env = append(cmd.Env, "ACRFS_PASSWORD=hunter2", "DOCKER_CONFIG="+home, "PATH="+helper+":"+os.Getenv("PATH"))
	p := start(t, cmd)
	p.until("mounted ")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Process.Pid))
	if err != nil || !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("limits: %v\n%s", err, limits)
	}
	seen, err := os.ReadFile(filepath.Join(home, "seen"))
	if err != nil || len(seen) == 0 {
		t.Fatalf("the helper was not asked: %v", err)
	}
	secretsIn(t, "the helper's environment", string(seen))
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d", status)
	}
}
