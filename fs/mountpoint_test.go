package fs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestMountpointDaemon is not a test of its own: it is the process behind the
// mounts of the tests below, which kill and stop it.
func TestMountpointDaemon(t *testing.T) {
	dir := os.Getenv("ACRFS_TEST_MOUNTPOINT")
	if dir == "" {
		t.Skip("runs only as a child of the mount point tests")
	}
	root := &fusefs.Inode{}
	server, err := fusefs.Mount(dir, root, &fusefs.Options{MountOptions: fuse.MountOptions{
		Name: "acrfs", FsName: "registry.test", DirectMount: true,
	}})
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	fmt.Println("mounted")
	server.Wait()
}

// startDaemon mounts an empty file system of our type on dir in a process of
// its own, since a mount must not be used by the process that serves it.
func startDaemon(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	requireFUSE(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMountpointDaemon$", "-test.count=1")
	cmd.Env = append(os.Environ(), "ACRFS_TEST_MOUNTPOINT="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Kill()
		cmd.Wait()
		for UnmountLazily(dir) == nil {
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "mounted" {
		t.Fatalf("daemon said %q, %v", line, err)
	}
	return cmd
}

func requireFUSE(t *testing.T) {
	t.Helper()
	if err := CheckHost(false); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must be able to mount: %v", err)
		}
		t.Skipf("this machine cannot mount: %v", err)
	}
}

func kill(t *testing.T, daemon *exec.Cmd) {
	t.Helper()
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	daemon.Wait()
}

// stop halts a daemon with all its threads: the signal returns before they have
// taken it.
func stop(t *testing.T, daemon *exec.Cmd) {
	t.Helper()
	if err := daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", daemon.Process.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("no threads of the daemon: %v", err)
		}
		running := slices.ContainsFunc(threads, func(stat string) bool {
			line, err := os.ReadFile(stat)
			return err == nil && !strings.Contains(string(line), ") T ")
		})
		if !running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not stop")
		}
	}
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	_, ok := topMount(mounts, dir)
	return ok
}

func TestPrepareMountpointWantsAnEmptyDirectory(t *testing.T) {
	tmp := t.TempDir()
	file, full, empty := filepath.Join(tmp, "file"), filepath.Join(tmp, "full"), filepath.Join(tmp, "empty")
	link := filepath.Join(tmp, "link")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o600),
		os.MkdirAll(filepath.Join(full, "inside"), 0o700),
		os.Mkdir(empty, 0o700),
		os.Symlink("empty", link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ path, want, message string }{
		{path: empty, want: empty},
		{path: link, want: empty},
		{path: empty + "/../empty/", want: empty},
		{path: file, message: "is not a directory"},
		{path: full, message: `is not empty (it has "inside")`},
		{path: filepath.Join(tmp, "none"), message: "does not exist: create it first (mkdir -p " + filepath.Join(tmp, "none") + ")"},
		{path: filepath.Join(tmp, "none", "deeper"), message: "does not exist"},
		{path: "", message: "the mount point is empty"},
	} {
		got, repaired, err := PrepareMountpoint(t.Context(), row.path)
		if row.message == "" {
			if err != nil || got != row.want || repaired {
				t.Errorf("PrepareMountpoint(%q) = %q, %v, %v, want %q", row.path, got, repaired, err, row.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.message) {
			t.Errorf("PrepareMountpoint(%q): got %v, want an error with %q", row.path, err, row.message)
		}
	}
}

func TestPrepareMountpointFollowsALoopOfLinksToAnError(t *testing.T) {
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if _, _, err := PrepareMountpoint(t.Context(), loop); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, want ELOOP", err)
	}
}

func TestPrepareMountpointRefusesALiveMount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, dir)
	_, repaired, err := PrepareMountpoint(t.Context(), dir)
	if !errors.Is(err, ErrMounted) || repaired {
		t.Errorf("got repaired %v, %v; want ErrMounted", repaired, err)
	}
	if !strings.Contains(err.Error(), "registry.test") {
		t.Errorf("%q does not say what is mounted there", err)
	}
	if !isMounted(t, dir) {
		t.Error("the live mount was taken away")
	}
}

func TestPrepareMountpointRepairsWhatKilledDaemonsLeft(t *testing.T) {
	dir := t.TempDir()
	kill(t, startDaemon(t, dir))
	if _, err := os.Stat(dir); !disconnected(err) {
		t.Fatalf("stat of a dead mount: got %v, want ENOTCONN", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	got, repaired, err := PrepareMountpoint(t.Context(), link)
	if err != nil || !repaired || got != dir {
		t.Fatalf("got %q, %v, %v; want %q repaired", got, repaired, err, dir)
	}
	if isMounted(t, dir) {
		t.Error("the dead mount is still there")
	}
}

func TestPrepareMountpointLeavesAHangingMountAlone(t *testing.T) {
	dir := t.TempDir()
	daemon := startDaemon(t, dir)
	stop(t, daemon)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, repaired, err := PrepareMountpoint(ctx, dir)
	if !errors.Is(err, ErrNoAnswer) || repaired {
		t.Errorf("got repaired %v, %v; want ErrNoAnswer", repaired, err)
	}
	if !isMounted(t, dir) {
		t.Error("a mount that may wake up was taken away")
	}
}

func TestUnmountSaysBusyAndHoldersSayWho(t *testing.T) {
	dir := t.TempDir()
	startDaemon(t, dir)
	holder := exec.Command("sleep", "60")
	holder.Dir = dir
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	if err := Unmount(dir); !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("unmount of a busy mount: got %v, want EBUSY", err)
	}
	want := []Holder{{PID: holder.Process.Pid, Command: "sleep", Use: "works in", Path: dir}}
	if diff := cmp.Diff(want, Holders(t.Context(), dir)); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	holder.Process.Kill()
	holder.Wait()
	if err := Unmount(dir); err != nil {
		t.Fatal(err)
	}
	if isMounted(t, dir) {
		t.Error("still mounted")
	}
	if err := Unmount(dir); !errors.Is(err, ErrNotMounted) {
		t.Errorf("second unmount: got %v, want ErrNotMounted", err)
	}
}

func TestHoldersSeeOpenMappedAndRunningFiles(t *testing.T) {
	// Names are all that Holders goes by, so any directory will do.
	dir := t.TempDir()
	program := filepath.Join(dir, "sleep")
	real, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	runs := exec.Command(program, "60")
	opens := exec.Command("sleep", "60")
	if opens.Stdin, err = os.Open(program); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for use, cmd := range map[string]*exec.Cmd{"runs": runs, "has open": opens} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		want[fmt.Sprintf("sleep (pid %d) %s %s", cmd.Process.Pid, use, program)] = ""
	}
	opens.Stdin.(*os.File).Close()
	got := map[string]string{}
	for _, h := range Holders(t.Context(), dir) {
		got[h.String()] = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	if path, ok := mappedFile(t.Context(), fmt.Sprintf("/proc/%d/maps", runs.Process.Pid), dir); !ok || path != program {
		t.Errorf("mapped file: got %q, %v, want %q", path, ok, program)
	}
}

func TestUnmountTouchesOnlyItsOwnKind(t *testing.T) {
	inside := t.TempDir()
	for path, want := range map[string]string{
		"/proc":                          "it is a mount of type proc",
		inside:                           "not an acrfs mount",
		filepath.Join(inside, "missing"): "it does not exist",
	} {
		err := Unmount(path)
		if !errors.Is(err, ErrNotMounted) || !strings.Contains(err.Error(), want) {
			t.Errorf("Unmount(%q): got %v, want ErrNotMounted with %q", path, err, want)
		}
	}
}

func TestParseMountinfo(t *testing.T) {
	const table = `22 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
36 28 0:44 / /mnt/with\040space\134 ro,nosuid,nodev - fuse.acrfs my\011host ro,user_id=0
37 36 0:45 /sub /mnt/a rw shared:1 master:2 propagate_from:3 - ext4 /dev/sda1 rw
a line from the future
38 28 0:46 / /short rw - tmpfs
`
	got, err := parseMountinfo(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []mountEntry{
		{dir: "/proc", device: "0:21", fstype: "proc", source: "proc"},
		{dir: `/mnt/with space\`, device: "0:44", fstype: "fuse.acrfs", source: "my\thost"},
		{dir: "/mnt/a", device: "0:45", fstype: "ext4", source: "/dev/sda1"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mountEntry{})); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(`36 28 0:44 / /mnt/with\040space ro - fuse.acrfs host ro`)
	f.Add(`\\04 \777 - `)
	f.Fuzz(func(t *testing.T, table string) {
		mounts, _ := parseMountinfo(strings.NewReader(table))
		if len(mounts) > strings.Count(table, "\n")+1 {
			t.Errorf("%d mounts from %d lines", len(mounts), strings.Count(table, "\n")+1)
		}
	})
}

func TestCheckHostSaysWhatIsMissing(t *testing.T) {
	tmp := t.TempDir()
	device, config := filepath.Join(tmp, "fuse"), filepath.Join(tmp, "fuse.conf")
	permits := filepath.Join(tmp, "permits.conf")
	for path, text := range map[string]string{
		device:  "",
		config:  "# user_allow_other\nmount_max = 7\n",
		permits: "mount_max = 7\n  user_allow_other # everybody\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		host   host
		others bool
		want   string
	}{
		"root":                     {host: host{device: device, privileged: true, config: config}, others: true},
		"user":                     {host: host{device: device, helper: true, config: config}},
		"user with allow_other":    {host: host{device: device, helper: true, config: permits}, others: true},
		"user without allow_other": {host: host{device: device, helper: true, config: config}, others: true, want: "user_allow_other"},
		"user without fuse.conf":   {host: host{device: device, helper: true, config: tmp + "/none"}, others: true, want: "user_allow_other"},
		"user without helper":      {host: host{device: device}, want: "fusermount3 is not installed"},
		"no device, even for root": {host: host{device: tmp + "/none", privileged: true}, want: tmp + "/none is missing"},
		"device that is no device": {host: host{device: tmp, privileged: true}, want: "is a directory"},
	} {
		err := row.host.check(row.others)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}
