package integration

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestEveryChangeIsRefused tries every way to change something, before and
// after the mount was made writable to the kernel.
func TestEveryChangeIsRefused(t *testing.T) {
	needRoot(t)
	onEveryServer(t, func(t *testing.T, s *server) {
		push(t, s, "app", "v1", fixture.MultiArch("1"))
		push(t, s, "app", "files", fixture.Files("dir/a.txt", "a"))
		m := mountServer(t, s)
		s.gate.forget()
		checkChanges(t, m, unix.EROFS)
		// As mount -o remount,rw does, without a helper program in between.
		if err := unix.Mount("", m.dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			t.Fatalf("remount,rw: %v", err)
		}
		checkChanges(t, m, unix.EROFS)
		for _, r := range s.gate.requests() {
			if r.Method != "GET" && r.Method != "HEAD" && r.Path != "/oauth2/token" {
				t.Errorf("a read-only mount sent %s %s", r.Method, r.Path)
			}
		}
		checkArtifact(t, m.tagDir("app", "v1"), fixture.MultiArch("1"))
	})
}

// checkChanges tries every change at every kind of node and compares errors.
func checkChanges(t *testing.T, m *mount, want syscall.Errno) {
	t.Helper()
	checkOtherChanges(t, m, want)
	for _, dir := range everyDirectory {
		dir := m.path(dir)
		checkErrno(t, "setxattr "+dir, unix.Setxattr(dir, "user.acr.can_delete", []byte("false"), 0), want)
		checkErrno(t, "removexattr "+dir, unix.Removexattr(dir, "user.acr.can_delete"), want)
	}
	for _, dir := range []string{"app", "app/_tags", "app/_manifests", "app/_tags/v1", "app/_tags/files/dir"} {
		checkErrno(t, "rmdir "+dir, unix.Rmdir(m.path(dir)), want)
	}
	for _, file := range everyFile {
		checkErrno(t, "unlink "+file, unix.Unlink(m.path(file)), want)
		if file != childLink { // the kernel has no user.* on symlinks
			checkErrno(t, "setxattr "+file, unix.Setxattr(m.path(file), "user.anything", []byte("x"), 0), want)
		}
	}
}

// A node of every kind, below app.
var (
	everyDirectory = []string{
		"", "app", "app/_tags", "app/_manifests", "app/_blobs", "app/_tags/files", "app/_tags/files/dir", "app/_tags/v1/manifests",
	}
	everyFile = []string{"app/_tags/v1/manifest.json", "app/_tags/files/config.json", "app/_tags/files/dir/a.txt", childLink}
)

const childLink = "app/_tags/v1/manifests/linux-amd64"

// checkOtherChanges tries those that are no deletion and no flag.
func checkOtherChanges(t *testing.T, m *mount, want syscall.Errno) {
	t.Helper()
	for _, dir := range everyDirectory {
		dir := m.path(dir)
		new := dir + "/new"
		_, err := os.Create(new)
		checkErrno(t, "create "+new, err, want)
		checkErrno(t, "mkdir "+new, os.Mkdir(new, 0o755), want)
		checkErrno(t, "symlink "+new, os.Symlink("x", new), want)
		checkErrno(t, "mknod "+new, unix.Mknod(new, unix.S_IFIFO|0o600, 0), want)
		checkErrno(t, "link "+new, os.Link(m.path("app/_tags/files/config.json"), new), want)
		checkErrno(t, "chmod "+dir, os.Chmod(dir, 0o700), want)
		checkErrno(t, "chown "+dir, os.Chown(dir, 1, 1), want)
		checkErrno(t, "utimes "+dir, os.Chtimes(dir, time.Now(), time.Now()), want)
		if dir != m.dir {
			checkErrno(t, "rename "+dir, unix.Rename(dir, m.path("new")), want)
		}
	}
	for _, file := range everyFile {
		path := m.path(file)
		checkErrno(t, "rename "+file, unix.Rename(path, m.path("app/_tags/v1/new")), want)
		checkErrno(t, "rename "+file+" over another", unix.Rename(path, m.path("app/_tags/v1/config.json")), want)
		checkErrno(t, "chown "+file, os.Lchown(path, 1, 1), want)
		if file == childLink {
			continue
		}
		_, err := os.OpenFile(path, os.O_WRONLY, 0)
		checkErrno(t, "open for writing "+file, err, want)
		_, err = os.OpenFile(path, os.O_RDWR|os.O_TRUNC, 0)
		checkErrno(t, "open for truncation "+file, err, want)
		checkErrno(t, "truncate "+file, os.Truncate(path, 0), want)
		checkErrno(t, "chmod "+file, os.Chmod(path, 0o600), want)
		checkErrno(t, "utimes "+file, os.Chtimes(path, time.Now(), time.Now()), want)
	}
}
