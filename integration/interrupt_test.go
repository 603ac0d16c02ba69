package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestInterruptedCopyEndsAtOnce presses Ctrl-C on a cp that waits for a server
// which sends nothing more.
func TestInterruptedCopyEndsAtOnce(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		large := fixture.Large(14, 32<<20)
		blob := large.Blobs[1]
		push(t, s, "app", "v1", large)
		m := mountServer(t, s)
		release := make(chan struct{})
		lift := s.gate.add(contentOf(blob.Digest), stallAfter(1<<20, release))
		cp := exec.Command("cp", m.path("app/_tags/v1/large.bin"), filepath.Join(t.TempDir(), "copy"))
		if err := cp.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the download to begin", func() bool { return s.gate.bytesOf(blob.Digest) > 0 })
		time.Sleep(200 * time.Millisecond) // into the read that waits
		began := time.Now()
		cp.Process.Signal(syscall.SIGINT)
		within(t, "the end of an interrupted cp", 20*time.Second, func() { cp.Wait() })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("cp ended %v after Ctrl-C", took)
		}
		lift()
		close(release)
		within(t, "a read after the interruption", time.Minute, func() {
			if err := sameContent(m.path("app/_tags/v1/large.bin"), blobEntry(blob)); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestBusyMountIsDetached ends a mount while a program has its directory there.
func TestBusyMountIsDetached(t *testing.T) {
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s)
	holder := exec.Command("sh", "-c", `cd "$1" && exec sleep 60`, "sh", m.path("app"))
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
	})
	waitFor(t, "the holder to be in the mount", func() bool {
		dir, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(holder.Process.Pid), "cwd"))
		return err == nil && dir == m.path("app")
	})
	if r := run(t, acrfs(t), "umount", m.dir); r.code != 1 || !isMounted(m.dir) {
		t.Errorf("umount of a busy mount: %s", r)
	}
	m.signal(syscall.SIGINT)
	m.awaitEnd()
	if isMounted(m.dir) {
		t.Errorf("%s is still mounted", m.dir)
	}
}

// TestUmountByPath ends a mount from another process.
func TestUmountByPath(t *testing.T) {
	s := newLocalACR(t)
	m := mountServer(t, s)
	if r := run(t, acrfs(t), "umount", m.dir); r.code != 0 {
		t.Fatalf("umount: %s", r)
	}
	m.awaitEnd()
	if m.exit != nil || isMounted(m.dir) {
		t.Errorf("after umount the program ended with %v, mounted: %t", m.exit, isMounted(m.dir))
	}
}
