package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// startDemo starts a demo whose files all go to a temporary directory of their
// own, and returns the mount point and the commands that it printed.
func startDemo(t *testing.T, args ...string) (p *process, tmp, dir string, commands []string) {
	t.Helper()
	tmp = t.TempDir()
	p, dir, commands = startDemoIn(t, tmp, args...)
	return p, tmp, dir, commands
}

func startDemoIn(t *testing.T, tmp string, args ...string) (p *process, dir string, commands []string) {
	t.Helper()
	requireMount(t)
	cmd := command(t, append([]string{"demo"}, args...)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	p = start(t, cmd)
	dir, commands = demoSaid(t, p.until("Ctrl-C"))
	detachAtEnd(t, dir)
	return p, dir, commands
}

// demoSaid takes the mount point and the commands out of a demo's text.
func demoSaid(t *testing.T, said string) (dir string, commands []string) {
	t.Helper()
	_, rest, ok := strings.Cut(said, "on\n\n  ")
	dir, rest, ok2 := strings.Cut(rest, "\n")
	_, rest, ok3 := strings.Cut(rest, "terminal:\n\n")
	list, _, ok4 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 || !ok3 || !ok4 {
		t.Fatalf("no mount point and commands in:\n%s", said)
	}
	for line := range strings.Lines(list) {
		commands = append(commands, strings.TrimSpace(line))
	}
	return dir, commands
}

// checkNothingLeft fails for files in tmp and for mounts below it.
func checkNothingLeft(t *testing.T, tmp, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if mounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
	}
}

func TestDemoCommandsWorkAndCtrlCLeavesNothing(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), "a user's own")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	p, dir, commands := startDemoIn(t, tmp)
	if len(commands) != 5 {
		t.Errorf("%d commands, want 5: %q", len(commands), commands)
	}
	for _, command := range commands {
		out, err := exec.CommandContext(t.Context(), "sh", "-euc", command).CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	checkNothingLeft(t, tmp, dir)
}

func TestDemoLeavesNothingWhenInUse(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			p, tmp, dir, _ := startDemo(t)
			holder, _ := occupy(t, dir)
			if status := p.stop(sig); status != exitDone {
				t.Errorf("exit status %d, want %d", status, exitDone)
			}
			if want := fmt.Sprintf("sleep (pid %d) works in", holder.Process.Pid); !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr %q, want %q in it", p.stderr, want)
			}
			checkNothingLeft(t, tmp, dir)
		})
	}
}

func TestDemoEndsWhenItIsUnmounted(t *testing.T) {
	p, tmp, dir, _ := startDemo(t)
	if _, stderr, status := runHere(t, "umount", dir); status != exitDone {
		t.Errorf("umount: status %d, %s", status, stderr)
	}
	if status := p.status(); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	checkNothingLeft(t, tmp, dir)
}

func TestDemoOnADirectoryOfTheUsers(t *testing.T) {
	there, fresh := t.TempDir(), filepath.Join(t.TempDir(), "fresh")
	for _, row := range []struct {
		dir  string
		kept bool
	}{{there, true}, {fresh, false}} {
		p, tmp, dir, _ := startDemo(t, row.dir)
		if dir != row.dir {
			t.Errorf("mounted on %s, want %s", dir, row.dir)
		}
		if status := p.stop(syscall.SIGINT); status != exitDone {
			t.Errorf("exit status %d, want %d", status, exitDone)
		}
		checkNothingLeft(t, tmp, dir)
		if _, err := os.Stat(row.dir); (err == nil) != row.kept {
			t.Errorf("%s afterwards: %v, want kept %v", row.dir, err, row.kept)
		}
	}
}

func TestDemoThatCannotStartLeavesNothing(t *testing.T) {
	requireMount(t)
	tmp, full := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "demo", full)
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	want := regexp.MustCompile(`^acrfs demo: .* is not empty .*\n$`)
	if err == nil || !want.Match(out) {
		t.Errorf("got %v, %q, want %v", err, out, want)
	}
	checkNothingLeft(t, tmp, full)
}

func TestNextDemoRemovesWhatAKilledOneLeft(t *testing.T) {
	killed, tmp, dead, _ := startDemo(t)
	killed.stop(syscall.SIGKILL)
	if !mounted(t, dead) {
		t.Fatal("the killed demo's mount is gone by itself")
	}
	running, _, _, _ := startDemo(t) // elsewhere: shows that a living one stays
	cmd := command(t, "demo")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	next := start(t, cmd)
	next.until("Ctrl-C")
	if mounted(t, dead) {
		t.Error("the dead mount is still there")
	}
	third := command(t, "demo")
	third.Env = cmd.Env
	beside := start(t, third)
	beside.until("Ctrl-C")
	for _, p := range []*process{beside, next, running} {
		if status := p.stop(syscall.SIGINT); status != exitDone {
			t.Errorf("exit status %d, want %d", status, exitDone)
		}
	}
	checkNothingLeft(t, tmp, dead)
}
