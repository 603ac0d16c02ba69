package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/acrfs/acrfs/fs"
)

// commandVariable makes this test binary behave as acrfs itself: tests that
// mount need the program as a process of its own, and a daemon starts its own
// executable again.
const commandVariable = "ACRFS_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) == "1" {
		main()
	}
	// What these tests start must not inherit that a hangup is ignored; a signal
	// with a handler is the default again in another program.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// patience bounds every wait for a process in these tests. It is long, since
// the machine may be busy with other packages' tests.
const patience = 60 * time.Second

// process is a running acrfs.
type process struct {
	*exec.Cmd
	t      *testing.T
	stdout *bufio.Reader
	stderr *lockedBuffer
	ended  chan struct{}
	err    error // of Wait, once ended is closed
}

// command returns acrfs with args, not started, at home in a directory of its
// own so that nothing of the user's is touched.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), commandVariable+"=1", "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_CACHE_HOME=",
		// The race detector would hold each process for a second at its end.
		"GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = patience
	return cmd
}

// start runs cmd in the background. It is killed when the test ends.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, t: t, stdout: bufio.NewReader(out), stderr: &lockedBuffer{}, ended: make(chan struct{})}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("stderr of acrfs %s:\n%s", strings.Join(cmd.Args[1:], " "), p.stderr)
		}
	})
	return p
}

// until reads stdout up to and including the line that contains text.
func (p *process) until(text string) string {
	p.t.Helper()
	type result struct {
		read string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var read strings.Builder
		for {
			line, err := p.stdout.ReadString('\n')
			read.WriteString(line)
			if err != nil || strings.Contains(line, text) {
				done <- result{read.String(), err}
				return
			}
		}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			p.t.Fatalf("acrfs ended (%v) before it said %q; stdout:\n%s\nstderr:\n%s", r.err, text, r.read, p.stderr)
		}
		return r.read
	case <-time.After(patience):
		p.t.Fatalf("acrfs did not say %q within %v; stderr:\n%s", text, patience, p.stderr)
		return ""
	}
}

// stop sends sig and returns the exit status.
func (p *process) stop(sig syscall.Signal) int {
	p.t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	return p.status()
}

// status waits for the end.
func (p *process) status() int {
	p.t.Helper()
	// Wait closes the pipe that nobody reads.
	go io.Copy(io.Discard, p.stdout)
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("acrfs did not end within %v; stderr:\n%s", patience, p.stderr)
		return -1
	}
}

// lockedBuffer is written by exec's goroutine and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// requireMount skips a test that mounts where that is impossible, which in CI
// is a failure.
func requireMount(t *testing.T) {
	t.Helper()
	if err := fs.CheckHost(false); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must be able to mount: %v", err)
		}
		t.Skipf("this machine cannot mount: %v", err)
	}
}

// serveSeeded starts a registry with the samples and returns its URL.
func serveSeeded(t *testing.T, flags ...string) (*process, string) {
	t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--seed", "--root", t.TempDir()}, flags...)
	p := start(t, command(t, args...))
	_, line, _ := strings.Cut(p.until("serving "), "serving ") // after what was imported
	return p, strings.TrimSuffix(strings.Fields(line)[0], ",")
}
