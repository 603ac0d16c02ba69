package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// BenchmarkWarm reads a blob that is in the cache, and the file that the cache
// keeps it in. That file is in the kernel's memory in both cases.
func BenchmarkWarm(b *testing.B) {
	blob := fixture.Repeated(4, full[int64](1<<30, 128<<20))
	s := newLocalACR(b)
	s.seed().artifact(b, "bench", "v1", largeBlob(blob))
	b.Run("Cat", func(b *testing.B) { warmCat(b, s, blob) })
	b.Run("Random", func(b *testing.B) { warmRandom(b, s, blob) })
	b.Run("ThroughTheDaemon", func(b *testing.B) { warmThroughTheDaemon(b, s, blob) })
}

// warmCat reads with cat: the first time in a mount that was just made, where
// looking up the path costs requests too, and once more.
func warmCat(b *testing.B, s *server, blob fixture.Blob) {
	cache := filepath.Join(openDir(b), "cache")
	flags := mountOptions{cache: cache, flags: []string{"--log-level", "warn"}}
	first := mountWith(b, s, flags)
	if _, err := readThrough(first.path("bench/_tags/v1/large.bin")); err != nil {
		b.Fatal(err)
	}
	cached := cachedFile(b, cache, blob)
	first.unmount()
	if !strings.Contains(first.output.String(), ", passthrough,") {
		for _, key := range []string{"warm-remount", "warm-again"} {
			absent(b, key, "", "no passthrough here")
		}
		b.Skip("no passthrough here")
	}

	var m *mount
	took := duel(b, full(5, 3),
		side{"the file", func() (func() error, func()) {
			return func() error { return execute("", "cat", cached) }, func() {}
		}},
		side{"after a remount", func() (func() error, func()) {
			m = mountWith(b, s, flags)
			path := m.path("bench/_tags/v1/large.bin")
			return func() error { return execute("", "cat", path) }, m.unmount
		}},
		side{"again", func() (func() error, func()) {
			m = mountWith(b, s, flags)
			path := m.path("bench/_tags/v1/large.bin")
			if err := execute("", "cat", path); err != nil {
				b.Fatal(err)
			}
			return func() error { return execute("", "cat", path) }, m.unmount
		}},
	)
	report(b, "warm-remount", "", ratio(took[1], took[0]), "%s, the file %s", speed(blob.Size, took[1]), speed(blob.Size, took[0]))
	report(b, "warm-again", "", ratio(took[2], took[0]), "%s, the file %s", speed(blob.Size, took[2]), speed(blob.Size, took[0]))
}

// warmRandom reads pages all over the blob.
func warmRandom(b *testing.B, s *server, blob fixture.Blob) {
	m := mountServer(b, s, "--log-level", "warn")
	path := m.path("bench/_tags/v1/large.bin")
	if _, err := readThrough(path); err != nil {
		b.Fatal(err)
	}
	cached := cachedFile(b, m.cache, blob)
	reads := full(400_000, 100_000)
	random := func(name, path string) side {
		return side{name, func() (func() error, func()) {
			return func() error { return randomReads(path, blob.Size/4096, reads) }, func() {}
		}}
	}
	took := duel(b, 5, random("the file", cached), random("the mount", path))
	each := func(d time.Duration) time.Duration { return d / time.Duration(reads) }
	report(b, "warm-random", "", ratio(took[1], took[0]), "%v against %v a read", each(took[1]), each(took[0]))
}

// warmThroughTheDaemon reads with cat for a user who is not root: the kernel
// then passes nothing through, and every byte comes from the daemon, once: what
// is opened again is in the kernel's memory.
func warmThroughTheDaemon(b *testing.B, s *server, blob fixture.Blob) {
	needRoot(b) // to become another
	needTools(b, "setpriv", "nsenter", "fusermount3")
	room := openDir(b)
	m := mountAsNobody(b, s, room)
	if said := m.output.String(); !strings.Contains(said, ", no passthrough,") {
		b.Fatalf("nobody's mount passes through:\n%s", said)
	}
	path := filepath.Join(m.dir, "bench/_tags/v1/large.bin")
	if err := m.execute("cat", path); err != nil {
		b.Fatal(err)
	}
	cached := cachedFile(b, m.cache, blob)
	m.end()

	cat := func(name, path string, warm bool) side {
		return side{name, func() (func() error, func()) {
			m := mountAsNobody(b, s, room)
			if warm {
				if err := m.execute("cat", path); err != nil {
					b.Fatal(err)
				}
			}
			return func() error { return m.execute("cat", path) }, m.end
		}}
	}
	took := duel(b, full(5, 3), cat("the file", cached, false), cat("after a remount", path, false), cat("again", path, true))
	for i, key := range []string{"warm-daemon", "warm-daemon-again"} {
		report(b, key, "", ratio(took[1+i], took[0]), "%s, the file %s", speed(blob.Size, took[1+i]), speed(blob.Size, took[0]))
	}
}

// nobodysMount is a mount of an ordinary user's.
type nobodysMount struct {
	b      *testing.B
	dir    string
	cache  string
	output *output
	cmd    *exec.Cmd
	ended  chan struct{}
}

const nobody = 65534

// nobodysShell becomes nobody. A device that only root may open is replaced by
// one for everybody, in a mount namespace that nobody else sees.
const nobodysShell = `set -eu
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	[ -e "$1/fuse" ] || mknod -m 666 "$1/fuse" c 10 229
	mount --bind "$1/fuse" /dev/fuse
fi
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"`

// mountAsNobody mounts on a directory in room, with a cache there that stays.
func mountAsNobody(b *testing.B, s *server, room string) *nobodysMount {
	b.Helper()
	home := filepath.Join(room, "home")
	m := &nobodysMount{b: b, dir: filepath.Join(home, "mount"), cache: filepath.Join(home, "cache"), output: &output{}, ended: make(chan struct{})}
	program := filepath.Join(room, "acrfs")
	if _, err := os.Stat(program); err != nil {
		for _, err := range []error{
			os.Mkdir(home, 0o755), os.Chown(home, nobody, nobody),
			os.Mkdir(m.dir, 0o755), os.Chown(m.dir, nobody, nobody),
			execute("", "install", "-m", "755", acrfs(b), program), // where others may go
		} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	said := make(chan struct{})
	m.cmd = exec.Command("sh", "-c", nobodysShell, "sh", room, program,
		"mount", s.url, m.dir, "--cache-dir", m.cache, "--auth", "anonymous", "--log-level", "warn")
	m.cmd.Env = append(os.Environ(), "HOME="+home)
	m.cmd.Stdout, m.cmd.Stderr = &announcement{output: m.output, said: said}, m.output
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: unix.CLONE_NEWNS}
	if err := m.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		m.cmd.Wait()
		close(m.ended)
	}()
	b.Cleanup(m.end)
	select {
	case <-said:
	case <-m.ended:
		b.Fatalf("nobody's mount ended:\n%s", m.output)
	case <-time.After(mountTimeout):
		b.Fatalf("no mount after %v:\n%s", mountTimeout, m.output)
	}
	return m
}

// execute runs a program as nobody, where the mount can be seen.
func (m *nobodysMount) execute(args ...string) error {
	return execute("", "nsenter", append([]string{"-t", fmt.Sprint(m.cmd.Process.Pid), "-m",
		"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"}, args...)...)
}

// end unmounts; the namespace goes with its last process. It may be called
// again.
func (m *nobodysMount) end() {
	select {
	case <-m.ended:
		return
	default:
	}
	m.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-m.ended:
	case <-time.After(mountTimeout):
		m.b.Errorf("nobody's mount did not end within %v", mountTimeout)
		syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
		<-m.ended
	}
}

// randomReads reads n of a file's pages, the same ones each time.
func randomReads(path string, pages int64, n int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	random := rand.New(rand.NewPCG(1, 2))
	page := make([]byte, 4096)
	for range n {
		if _, err := file.ReadAt(page, random.Int64N(pages)*4096); err != nil {
			return err
		}
	}
	return nil
}

// speed is for raw figures.
func speed(bytes int64, d time.Duration) string {
	return fmt.Sprintf("%.2g GB/s", float64(bytes)/d.Seconds()/1e9)
}
