package fs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/registry"
)

// interrupted is an operation's context after the kernel cancelled it for a
// signal to this caller.
func interrupted(t *testing.T, pid uint32) context.Context {
	t.Helper()
	tr := &tree{life: newLife()}
	t.Cleanup(tr.life.close)
	cancel := make(chan struct{})
	ctx, done := tr.opContext(&fuse.Context{Caller: fuse.Caller{Pid: pid}, Cancel: cancel})
	t.Cleanup(done)
	close(cancel)
	return ctx
}

func TestSignalThatDoesNotKillDoesNotEndTheOperation(t *testing.T) {
	ctx := interrupted(t, uint32(os.Getpid()))
	select {
	case <-ctx.Done():
		t.Errorf("ended: %v", context.Cause(ctx))
	case <-time.After(5 * killPoll):
	}
}

func TestKilledCallerEndsTheOperation(t *testing.T) {
	caller := exec.Command("sleep", "60")
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	ctx := interrupted(t, uint32(caller.Process.Pid))
	caller.Process.Kill()
	caller.Wait()
	select {
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), errInterrupted) {
			t.Errorf("ended with %v, want errInterrupted", context.Cause(ctx))
		}
	case <-time.After(10 * time.Second):
		t.Error("the operation goes on")
	}
}

func TestCallerThatCannotBeSeenIsInterruptedAfterAGrace(t *testing.T) {
	began := time.Now()
	<-interrupted(t, 0).Done()
	if took := time.Since(began); took < unseenGrace {
		t.Errorf("interrupted after %v, want %v at least", took, unseenGrace)
	}
}

// hangingRegistry never answers for single items.
type hangingRegistry struct {
	Registry
	asked chan struct{}
}

func (h hangingRegistry) Properties(ctx context.Context, ref registry.Ref) (registry.Properties, error) {
	h.asked <- struct{}{}
	<-ctx.Done()
	return registry.Properties{}, ctx.Err()
}

// TestEndOfTheConnectionEndsWhatIsWaitedFor although the caller lives on, and a
// signal to it does not.
func TestEndOfTheConnectionEndsWhatIsWaitedFor(t *testing.T) {
	w, dir := mounted(t, Config{}), t.TempDir()
	hanging := hangingRegistry{w.client, make(chan struct{})}
	m, err := Mount(dir, Config{Registry: hanging, Cache: w.m.tree.cache})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := os.Stat(filepath.Join(dir, "library/other"))
		answered <- err
	}()
	<-hanging.asked
	if m.tree.aborted() {
		t.Error("a mount in use counts as aborted")
	}
	if err := unix.Unmount(dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("unmount: %v, want %v", err, unix.EBUSY)
	}
	if err := <-answered; !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("stat: %v, want %v", err, unix.ECONNABORTED)
	}
	ended := make(chan struct{})
	go func() {
		m.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the mount has not ended")
		m.tree.life.end()
		<-ended
	}
	if err := m.UnmountLazily(); err != nil {
		t.Error(err)
	}
}

func TestFatalSignalsAreToldFromHandledOnes(t *testing.T) {
	for _, c := range []struct {
		what, pending, shared, blocked, ignored, caught string
		want                                            bool
	}{
		{"nothing", "0", "0", "0", "0", "0", false},
		{"SIGKILL, which Ctrl-C becomes", "100", "0", "0", "0", "0", true},
		{"a caught SIGINT", "0", "2", "0", "0", "2", false},
		{"Go's SIGURG", "400000", "0", "0", "0", "400000", false},
		{"Ctrl-\\", "0", "4", "0", "0", "0", true},
		{"a caught SIGQUIT", "0", "4", "0", "0", "4", false},
		{"an ignored SIGQUIT", "0", "4", "0", "4", "0", false},
		{"a blocked SIGABRT", "20", "0", "20", "0", "0", false},
	} {
		status := "Name:\tcat\nSigPnd:\t" + c.pending + "\nShdPnd:\t" + c.shared + "\nSigBlk:\t" + c.blocked + "\nSigIgn:\t" + c.ignored + "\nSigCgt:\t" + c.caught + "\n"
		if got := fatalPending([]byte(status)); got != c.want {
			t.Errorf("%s: fatal %v, want %v", c.what, got, c.want)
		}
	}
}

// TestEndOfAnotherMountAtTheSamePlace does not end one that was taken out of the
// tree and is still in use.
func TestEndOfAnotherMountAtTheSamePlace(t *testing.T) {
	w, dir := mounted(t, Config{}), t.TempDir()
	mount := func() (*Mounted, *os.File) {
		m, err := Mount(dir, Config{Registry: w.client, Cache: w.m.tree.cache})
		if err != nil {
			t.Fatal(err)
		}
		busy, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return m, busy
	}
	detached, used := mount()
	defer detached.Wait()
	defer used.Close()
	if err := detached.UnmountLazily(); err != nil {
		t.Fatal(err)
	}
	dead, busy := mount()
	defer dead.UnmountLazily()
	if err := unix.Unmount(dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("unmount: %v, want %v", err, unix.EBUSY)
	}
	busy.Close()
	if !dead.tree.aborted() || detached.tree.aborted() {
		t.Errorf("aborted: the dead one %v, the one in use %v", dead.tree.aborted(), detached.tree.aborted())
	}
}
