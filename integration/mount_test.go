package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mountTimeout is how long a mount may take to answer, and to end.
	mountTimeout = 30 * time.Second
	// toolTimeout is how long a program that works on a mount may take.
	toolTimeout = 2 * time.Minute
)

// mount is a running acrfs.
type mount struct {
	t      testing.TB
	server *server
	dir    string // the mount point
	cache  string // the cache directory

	process   *exec.Cmd
	output    *output
	announced chan struct{} // closed when the process has said on stdout that it mounted
	ended     chan struct{} // closed when the process has ended
	exit      error         // of the process; read after ended
}

// mountOptions says how to mount. The zero value is a mount on fresh
// directories with the program's defaults.
type mountOptions struct {
	dir   string // "": a fresh one
	cache string // "": a fresh one
	url   string // "": the server's own
	flags []string
	env   []string // on top of this process's
}

// mountServer mounts a server, and unmounts it when the test ends. Whatever
// the test left running there is ended with it.
func mountServer(t testing.TB, s *server, flags ...string) *mount {
	t.Helper()
	return mountWith(t, s, mountOptions{flags: flags})
}

func mountWith(t testing.TB, s *server, o mountOptions) *mount {
	t.Helper()
	m := startMount(t, s, o)
	select {
	case <-m.announced:
	case <-m.ended:
		t.Fatalf("acrfs mount ended: %v\n%s", m.exit, m.output)
	case <-time.After(mountTimeout):
		t.Fatalf("no mount after %v\n%s", mountTimeout, m.output)
	}
	if !isMounted(m.dir) {
		t.Fatalf("acrfs says that it mounted, and %s is not", m.dir)
	}
	return m
}

// startMount starts the program and does not wait for the mount.
func startMount(t testing.TB, s *server, o mountOptions) *mount {
	t.Helper()
	_, err := os.Stat("/dev/fuse")
	need(t, "/dev/fuse", err == nil)
	if o.dir == "" {
		o.dir = openDir(t)
	}
	if o.cache == "" {
		o.cache = filepath.Join(openDir(t), "cache")
	}
	if o.url == "" {
		o.url = s.url
	}
	m := &mount{t: t, server: s, dir: o.dir, cache: o.cache, output: &output{}, announced: make(chan struct{}), ended: make(chan struct{})}
	args := append([]string{"mount", o.url, o.dir, "--cache-dir", o.cache, "--log-level", "debug"}, o.flags...)
	m.process = exec.Command(acrfs(t), args...)
	m.process.Stdout, m.process.Stderr = &announcement{output: m.output, said: m.announced}, m.output
	m.process.Env = append(append(os.Environ(), "GORACE=halt_on_error=1"), o.env...)
	m.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.exit = m.process.Wait()
		close(m.ended)
	}()
	t.Cleanup(m.cleanUp)
	return m
}

// path is a path in the mount.
func (m *mount) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// unmount ends the mount as Ctrl-C does.
func (m *mount) unmount() {
	m.t.Helper()
	m.signal(syscall.SIGINT)
	m.awaitEnd()
	if m.exit != nil {
		m.t.Errorf("acrfs mount ended with %v after SIGINT", m.exit)
	}
	if isMounted(m.dir) {
		m.t.Errorf("%s is still mounted", m.dir)
	}
}

// kill ends the program without a chance to clean up.
func (m *mount) kill() {
	m.t.Helper()
	m.signal(syscall.SIGKILL)
	m.awaitEnd()
}

func (m *mount) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.process.Process.Signal(s); err != nil {
		m.t.Fatalf("signal %v: %v", s, err)
	}
}

func (m *mount) awaitEnd() {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(mountTimeout):
		m.t.Fatalf("acrfs mount did not end within %v", mountTimeout)
	}
}

// cleanUp ends what is still there, gently first, and tells what a failed
// test's mount had to say.
func (m *mount) cleanUp() {
	select {
	case <-m.ended:
		// Its test has judged that.
	default:
		m.process.Process.Signal(syscall.SIGINT)
		select {
		case <-m.ended:
			if m.exit != nil && !m.t.Failed() {
				m.t.Errorf("acrfs mount ended with %v", m.exit)
			}
		case <-time.After(mountTimeout):
			m.t.Errorf("acrfs mount did not end within %v of SIGINT", mountTimeout)
			syscall.Kill(-m.process.Process.Pid, syscall.SIGKILL)
			<-m.ended
		}
	}
	for isMounted(m.dir) {
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			m.t.Errorf("detach %s: %v", m.dir, err)
			break
		}
	}
	if strings.Contains(m.output.String(), "DATA RACE") {
		m.t.Errorf("the race detector found something in acrfs")
	}
	if m.t.Failed() {
		m.t.Logf("what acrfs mount said:\n%s", m.output.tail(60))
	}
}

// isMounted tells whether dir is a mount point of acrfs, answering or not.
func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[4] == dir && strings.Contains(line, " fuse.acrfs ") {
			return true
		}
	}
	return false
}

// openDir is a fresh directory that every user can reach.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "acrfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Never below a mount that did not come off: that would be a walk
		// through a registry.
		if isMounted(dir) {
			t.Errorf("%s is still mounted and stays", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// output is what a program printed, bounded at both ends' convenience: tests
// look for lines at its start, people at its end.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the program has said text: what it writes comes through a
// pipe, a moment after what it was said about.
func (o *output) await(t testing.TB, text string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("the words %q", text), func() bool { return strings.Contains(o.String(), text) })
}

func (o *output) tail(lines int) string {
	all := strings.SplitAfter(o.String(), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("… %d lines …\n", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "")
}

// announcement passes on what a program prints, and closes said when it is the
// line that says what was mounted.
type announcement struct {
	*output
	said chan struct{}
	once sync.Once
}

func (a *announcement) Write(p []byte) (int, error) {
	n, err := a.output.Write(p)
	if strings.HasPrefix(string(p), "mounted ") {
		a.once.Do(func() { close(a.said) })
	}
	return n, err
}

// result is how a program ended.
type result struct {
	stdout string
	stderr string
	code   int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// run runs a program to its end, whatever its exit status.
//
// It never starts one with its directory or its file on a mount: the fork
// would wait for the file system while this process, which serves the
// registry, is held.
func run(t testing.TB, name string, args ...string) result {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(toolTimeout, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	if !killer.Stop() {
		t.Fatalf("%s %q did not end within %v", name, args, toolTimeout)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is run for programs that have to succeed without a word on stderr.
func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := run(t, name, args...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%s %q: %s", name, args, r)
	}
	return r.stdout
}

// shell runs a line of shell, with "$1" and on as args, that has to succeed
// without a word on stderr.
func shell(t testing.TB, line string, args ...string) string {
	t.Helper()
	return must(t, "sh", append([]string{"-ec", line, "sh"}, args...)...)
}
