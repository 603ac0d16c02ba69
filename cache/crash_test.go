package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"
)

// TestMain lets a test run this binary again as another process with the same
// cache: ACRFS_CACHE_CHILD says what it does there.
func TestMain(m *testing.M) {
	if role := os.Getenv("ACRFS_CACHE_CHILD"); role != "" {
		child(role, os.Getenv("ACRFS_CACHE_DIR"))
		return
	}
	os.Exit(m.Run())
}

const childSize = 24 << 20

// child works in a cache until it is killed, or its standard input ends, and
// says how far it is.
func child(role, dir string) {
	c, err := Open(Config{Dir: dir, Size: 1 << 30})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	data := bytesOf(40, childSize)
	src := newFake(data)
	b := c.Blob(digest.FromBytes(data), childSize, src)
	switch role {
	case "download": // slowly, telling every step
		src.step = chunkSize
		src.gate = func(ctx context.Context, at int64) error {
			time.Sleep(2 * time.Millisecond)
			return nil
		}
		p := make([]byte, chunkSize)
		for off := int64(0); off < childSize; off += chunkSize {
			if _, err := b.ReadAt(context.Background(), p, off); err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println("read", off+chunkSize)
		}
	case "hold": // half of it, and stay
		src.gate = holdAt(12 << 20).wait
		if _, err := b.ReadAt(context.Background(), make([]byte, 8<<20), 0); err != nil {
			fmt.Println("error", err)
			return
		}
	case "store":
		if err := b.Fetch(context.Background()); err != nil {
			fmt.Println("error", err)
			return
		}
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	b.Close()
	c.Close()
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin interface{ Close() error }
}

func spawn(t *testing.T, role, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), "ACRFS_CACHE_CHILD="+role, "ACRFS_CACHE_DIR="+dir)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	return p
}

// until reads the child's lines up to one that begins so.
func (p *process) until(t *testing.T, prefix string) {
	t.Helper()
	for p.lines.Scan() {
		if strings.HasPrefix(p.lines.Text(), prefix) {
			return
		}
		if strings.HasPrefix(p.lines.Text(), "error") {
			t.Fatalf("the child says: %s", p.lines.Text())
		}
	}
	t.Fatalf("the child ended without %q", prefix)
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
}

// TestKillLosesOnlyTheUnfinishedRange kills a download in the middle, several
// times, and completes it with little more than what is missing.
func TestKillLosesOnlyTheUnfinishedRange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	data := bytesOf(40, childSize)
	const steps = 4 << 20
	for done := steps; done <= 3*steps; done += steps {
		p := spawn(t, "download", dir)
		p.until(t, fmt.Sprintf("read %d", done))
		p.kill(t)
	}
	c := open(t, Config{Dir: dir})
	src := newFake(data)
	b := handle(t, c, data, src)
	wantAll(t, b, data)
	fetch(t, b)
	if n := src.given.Load(); n > childSize-3*steps+chunkSize {
		t.Errorf("%d bytes came, with %d of %d there", n, 3*steps, childSize)
	}
	if s := c.Stats(); s.Resumed != 1 || s.Partial != 0 || s.Stored != childSize {
		t.Errorf("stats %+v", s)
	}
}

// TestRebootKeepsWhatWasSynced: with another boot id only the lines before a
// sync count.
func TestRebootKeepsWhatWasSynced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	data := bytesOf(41, 32<<20)
	c := open(t, Config{Dir: dir})
	src := newFake(data)
	src.gate = holdAt(16 << 20).wait
	b := handle(t, c, data, src)
	wantRead(t, b, data, 0, 8<<20)
	b.Close()
	shut(t, c) // syncs
	path := filepath.Join(dir, c.disk.partial(digest.FromBytes(data)))
	text, err := os.ReadFile(path + mapSuffix)
	if err != nil {
		t.Fatal(err)
	}
	// As long as the real one: the map has offsets into itself.
	text = bytes.Replace(text, []byte(bootID()), bytes.Repeat([]byte("0"), len(bootID())), 1)
	text = append(text, "+ 300 400\n"...) // written after the last sync, and lost
	if err := os.WriteFile(path+mapSuffix, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c = open(t, Config{Dir: dir})
	src = newFake(data)
	b = handle(t, c, data, src)
	wantAll(t, b, data)
	fetch(t, b)
	if n := src.given.Load(); n > 24<<20+chunkSize || n < 100*chunkSize {
		t.Errorf("%d bytes came", n)
	}
}

// TestWrongResumedBytesAreDownloadedAfresh once and silently when nobody saw
// them, and kill the blob when somebody did.
func TestWrongResumedBytesAreDownloadedAfresh(t *testing.T) {
	for _, seen := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "cache")
		data := bytesOf(42, 32<<20)
		var log logged
		c := open(t, Config{Dir: dir})
		src := newFake(data)
		src.gate = holdAt(16 << 20).wait
		b := handle(t, c, data, src)
		wantRead(t, b, data, 0, 8<<20)
		b.Close()
		shut(t, c)
		f, err := os.OpenFile(filepath.Join(dir, c.disk.partial(digest.FromBytes(data))), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte("wrong"), 1<<20)
		f.Close()
		c = open(t, Config{Dir: dir, Logger: log.logger()})
		b = handle(t, c, data, newFake(data))
		if seen {
			wantRead(t, b, data, 0, 100)
		}
		err = b.Fetch(context.Background())
		if seen {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("bytes were served: %v", err)
			}
			b.Close()
			b = handle(t, c, data, newFake(data))
			err = b.Fetch(context.Background())
		} else if log.count("begins afresh") != 1 || log.count("level=ERROR") != 0 {
			t.Errorf("it logged %s", &log.lines)
		}
		if err != nil {
			t.Error(err)
		}
		wantAll(t, b, data)
		b.Close()
		settle(t, c)
		shut(t, c)
	}
}

func TestLeftoversOfDeadProcessesAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	shut(t, open(t, Config{Dir: dir}))
	hex := digest.FromString("x").Encoded()
	for _, name := range []string{"tmp/put-1", "tmp/private-2", "index-3", "partial/sha256-" + hex, "partial/sha256-" + hex[1:] + "f.map", "partial/junk", "partial/junk.map"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, Config{Dir: dir})
	for _, sub := range []string{"tmp", "partial"} {
		if names := listNames(filepath.Join(dir, sub)); len(names) > 0 {
			t.Errorf("%s still has %v", sub, names)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "index-3")); err == nil {
		t.Error("index-3 is still there")
	}
	if s := c.Stats(); s.Partial != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestTwoProcessesShareADirectory: one downloads while the other needs the
// same blob; what one stores the other finds; what one evicts the other, which
// has it open, still reads.
func TestTwoProcessesShareADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	data := bytesOf(40, childSize)
	holder := spawn(t, "hold", dir)
	holder.until(t, "ready")
	c := open(t, Config{Dir: dir, Size: 1 << 30})
	src := newFake(data)
	b := handle(t, c, data, src)
	wantAll(t, b, data) // the partial is the other's: this is a private one
	fetch(t, b)
	if n := src.given.Load(); n != childSize {
		t.Errorf("%d bytes came", n)
	}
	second := spawn(t, "store", dir)
	second.until(t, "ready")
	holder.stdin.Close()
	holder.cmd.Wait()

	// The other way round: found without a request, as stored.
	file := storedFile(t, c, data)
	b.Close()
	os.Remove(file)
	again := handle(t, c, data, nil)
	if again.Stored() {
		t.Error("a file that is gone is stored")
	}
	again.Close()
	second.kill(t)
	third := spawn(t, "store", dir)
	third.until(t, "ready")
	found := handle(t, c, data, nil)
	if !found.Stored() {
		t.Error("what another process stored is not found")
	}
	wantAll(t, found, data)
	if s := c.Stats(); s.Rechecks != 0 {
		t.Errorf("stats %+v", s)
	}

	// Evicted by the other: the descriptor keeps it, and it counts.
	os.Remove(file)
	other, _, _, err := openJournal(c.disk.index(), func(record) {}, c.log)
	if err != nil {
		t.Fatal(err)
	}
	other.write(appendRecord(nil, record{op: '-', digest: digest.FromBytes(data)}))
	other.file.Close()
	c.index.refresh()
	wantAll(t, found, data)
	if s := c.Stats(); s.Evicted != childSize || s.Stored != 0 {
		t.Errorf("stats %+v", s)
	}
	found.Close()
	if s := c.Stats(); s.Evicted != 0 {
		t.Errorf("after close: stats %+v", s)
	}
}

// TestStoredPartialLeavesTheNextOneItsMap: another process may begin a partial
// between the move of a finished one into the store and the end of its map.
func TestStoredPartialLeavesTheNextOneItsMap(t *testing.T) {
	c := open(t, Config{})
	d := digest.FromString("x")
	first, _, err := openPartial(c.disk, d, smallBlob+1)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	if _, err := c.disk.store(first.file, d); err != nil {
		t.Fatal(err)
	}
	second, _, err := openPartial(c.disk, d, smallBlob+1)
	if err != nil {
		t.Fatal(err)
	}
	defer second.close()
	first.moved()
	if !samePath(second.ranges, second.ranges.Name()) {
		t.Error("the map of the next partial was removed")
	}
	second.remove()
	if names := listNames(filepath.Join(c.Dir(), "partial")); len(names) > 0 {
		t.Errorf("partials left: %v", names)
	}
}

func TestDirectoryOfOthersIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	c := open(t, Config{Dir: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	shut(t, c)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
		t.Errorf("writable by the group: %v", err)
	}
	if os.Geteuid() == 0 {
		os.Chmod(dir, 0o700)
		if err := unix.Chown(dir, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "12345") {
			t.Errorf("of another user: %v", err)
		}
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("no directory is no error")
	}
}
