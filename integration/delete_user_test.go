package integration

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acrfs/acrfs/integration/fixture"
)

// ownMount is a job of an ordinary user's crontab: with a mount of their own,
// by fusermount3, without a terminal or an environment.
const ownMount = `set -eu
"$1" mount --daemon --writable --audit-log "$2/audit" --cache-dir "$2/cache" "$3" "$2/mnt" </dev/null
cd /
R=$2/mnt/app
rm -r "$R/_tags/v1"
setfattr -n user.acr.can_delete -v false "$R/_tags/v2"
! rm -r "$R/_tags/v2" 2>/dev/null
setfattr -n user.acr.can_delete -v true "$R/_tags/v2"
rm -rf "$R"/_tags/v2/* && rmdir "$R/_tags/v2"
setfattr -n user.acr.can_write -v false "$R/_tags/v3"
find "$R/_manifests" -mindepth 1 -maxdepth 1 -exec sh -c 'getfattr -n user.acr.tags "$1" >/dev/null 2>&1 || rm -r "$1"' sh {} \;
"$1" umount "$2/mnt"
`

// asOrdinary runs a script as nobody with standard input closed. A device that
// only root may open is replaced by one for everybody, in a mount namespace of
// its own.
const asOrdinary = `set -eu
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mknod -m 666 "$1/fuse" c 10 229
	mount --bind "$1/fuse" /dev/fuse
fi
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@" <&-`

// TestOrdinaryUserDeletesInTheirOwnMount runs that job.
func TestOrdinaryUserDeletesInTheirOwnMount(t *testing.T) {
	needRoot(t)
	needTools(t, "setpriv", "setfattr", "getfattr", "fusermount3")
	s := newLocalACR(t)
	index, chart := fixture.ManifestList("1"), fixture.Chart("3")
	push(t, s, "app", "v1", fixture.Chart("1"))
	push(t, s, "app", "v2", index)
	push(t, s, "app", "v3", chart)
	room := openDir(t)
	if err := os.Mkdir(filepath.Join(room, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{room, filepath.Join(room, "mnt")} {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(openDir(t), "acrfs")
	must(t, "install", acrfs(t), program) // from where only its builder can look
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", asOrdinary, "sh", openDir(t), "sh", "-c", ownMount, "sh", program, room, s.url)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "mounted ") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	j := judge{t, sdkClient(t, s)}
	if diff := cmp.Diff(map[string]string{"v3": chart.Digest.String()}, j.tags("app")); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got := j.manifests("app"); len(got) != 1 {
		t.Errorf("manifests %q, want the one that is tagged", got)
	}
	audit, err := os.ReadFile(filepath.Join(room, "audit"))
	if err != nil || strings.Count(string(audit), `"uid":65534`) != strings.Count(string(audit), "\n") || !strings.Contains(string(audit), `"set can_write=false","item":"app:v3","outcome":"done"`) {
		t.Errorf("audit log (%v):\n%s", err, audit)
	}
}

// TestChangeOutlivesItsCaller kills whoever deletes or locks when the registry
// has done it and not answered yet. The change has its line, and shows.
func TestChangeOutlivesItsCaller(t *testing.T) {
	needTools(t, "setfattr", "rmdir")
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	push(t, s, "app", "v2", fixture.Chart("2"))
	log := filepath.Join(openDir(t), "audit")
	m := mountServer(t, s, "--writable", "--metadata-ttl", "1h", "--audit-log", log)
	shell(t, `ls -l "$1"/* && rm "$1"/v2/*`, m.path("app/_tags"))
	for _, row := range []struct {
		method, line string
		command      []string
		shows        func() bool
	}{
		{
			http.MethodPatch, `"set can_write=false","item":"app:v1"`,
			[]string{"setfattr", "-n", "user.acr.can_write", "-v", "false", m.tagDir("app", "v1")},
			func() bool { return attribute(t, m.tagDir("app", "v1"), "user.acr.can_write") == "false" },
		},
		{
			http.MethodDelete, `"delete tag","item":"app:v2"`,
			[]string{"rmdir", m.tagDir("app", "v2")},
			func() bool { return slices.Equal(names(t, m.path("app/_tags")), []string{"v1"}) },
		},
	} {
		applied, release := make(chan struct{}), make(chan struct{})
		lift := s.gate.add(func(r *http.Request) bool { return r.Method == row.method }, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			close(applied)
			select {
			case <-release:
			case <-r.Context().Done():
				t.Errorf("%s %s was given up with its caller", r.Method, r.URL)
			}
		})
		cmd := exec.CommandContext(t.Context(), row.command[0], row.command[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		within(t, "the request", time.Minute, func() { <-applied })
		cmd.Process.Kill()
		within(t, "the end of who was killed", time.Minute, func() { cmd.Wait() })
		time.Sleep(500 * time.Millisecond) // in which a change that ends with its caller is given up
		close(release)
		lift()
		waitFor(t, row.line+" in the audit log", func() bool {
			audit, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(audit), row.line+`,"outcome":"done"`)
		})
		if !row.shows() {
			t.Errorf("%v: the mount does not show it", row.command)
		}
	}
}
