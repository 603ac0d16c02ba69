package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// changes lists the requests since forget that change something, as
// "METHOD path".
func (g *gate) changes() []string {
	sent := []string{}
	for _, r := range g.requests() {
		if r.Method == http.MethodDelete || r.Method == http.MethodPatch || r.Method == http.MethodPut {
			sent = append(sent, r.Method+" "+r.Path)
		}
	}
	return sent
}

func checkChangesSent(t *testing.T, s *server, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), s.gate.changes()); diff != "" {
		t.Errorf("what was sent (-want +got):\n%s", diff)
	}
	s.gate.forget()
}

// TestRemovingADirectoryDeletesOneThing is rm -r of a tag and of a manifest:
// one request each, whatever is unlinked on the way.
func TestRemovingADirectoryDeletesOneThing(t *testing.T) {
	s := newLocalACR(t)
	chart, index := fixture.Chart("1"), fixture.MultiArch("1")
	push(t, s, "team/app", "v1", chart)
	push(t, s, "team/app", "same", chart)
	push(t, s, "team/app", "index", index)
	push(t, s, "team/app", "files", fixture.Files("a.txt", "a", "dir/deep/b.txt", "b"))
	m := mountServer(t, s, "--writable")
	s.gate.forget()

	shell(t, `rm -r "$1"`, m.tagDir("team/app", "v1"))
	checkChangesSent(t, s, "DELETE /acr/v1/team/app/_tags/v1")
	checkPulled(t, s, "team/app", "same", chart)
	checkArtifact(t, m.manifestDir("team/app", chart.Digest), chart)

	shell(t, `find "$1" -delete`, m.tagDir("team/app", "files"))
	checkChangesSent(t, s, "DELETE /acr/v1/team/app/_tags/files")

	s.gate.forget()
	shell(t, `rm -r "$1/_manifests/$(getfattr --absolute-names --only-values -n user.acr.digest "$1/_tags/same")"`, m.path("team/app"))
	checkChangesSent(t, s, "DELETE /v2/team/app/manifests/"+chart.Digest.String())
	if got := names(t, m.path("team/app/_tags")); !slices.Equal(got, []string{"index"}) {
		t.Errorf("after the manifest's deletion its tags are there: %q", got)
	}
	checkPulled(t, s, "team/app", "index", index)
}

// TestChangingFilesDeletesNothing lets programs go astray on a writable mount.
func TestChangingFilesDeletesNothing(t *testing.T) {
	needTools(t, "rsync", "install")
	s := newLocalACR(t)
	files := fixture.Files("a.txt", "a", "b.txt", "b")
	push(t, s, "app", "v1", files)
	m := mountServer(t, s, "--writable")
	s.gate.forget()
	for _, line := range []string{
		`cp -f /etc/passwd "$1/a.txt"`, `echo x >"$1/a.txt"`, `echo x >"$1/new"`, `mkdir "$1/new"`,
		`mv "$1/a.txt" "$1/c.txt"`, `ln -s x "$1/new"`, `chmod 600 "$1/a.txt"`, `touch "$1/a.txt"`, `truncate -s 0 "$1/a.txt"`,
		`install /etc/passwd "$1/b.txt"`, `mv "$1" "$1.old"`, `mv "$1/b.txt" "$2/moved"`,
	} {
		if r := run(t, "sh", "-ec", line, "sh", m.tagDir("app", "v1"), t.TempDir()); r.code == 0 && !strings.HasPrefix(line, "mv \"$1/b") {
			t.Errorf("%s succeeded: %s", line, r)
		}
	}
	run(t, "rsync", "-a", "--remove-source-files", m.tagDir("app", "v1")+"/", t.TempDir()+"/")
	checkChangesSent(t, s)
	checkPulled(t, s, "app", "v1", files)
}

// TestWhatSomethingLiveNeedsIsBusy protects children and referrers.
func TestWhatSomethingLiveNeedsIsBusy(t *testing.T) {
	s := newLocalACR(t)
	index := fixture.MultiArch("1")
	signature := fixture.Referrer(index, "application/vnd.example.signature", "sig", "signed")
	push(t, s, "app", "v1", index)
	push(t, s, "app", "", signature)
	m := mountServer(t, s, "--writable")
	s.gate.forget()
	for what, dir := range map[string]string{
		"a child of a tagged index":     m.manifestDir("app", index.Children[1].Digest),
		"a signature of a tagged index": m.manifestDir("app", signature.Digest),
	} {
		if r := run(t, "rm", "-r", dir); r.code == 0 || !strings.Contains(r.stderr, "busy") {
			t.Errorf("rm -r of %s: %s", what, r)
		}
	}
	checkChangesSent(t, s)
	m.unmount()

	m = mountServer(t, s, "--writable", "--allow-orphaning")
	shell(t, `rm -r "$1"`, m.manifestDir("app", index.Children[1].Digest))
	m.unmount()

	// Without its tag nothing keeps the index, and with it goes what refers to it.
	m = mountServer(t, s, "--writable")
	shell(t, `rm -r "$1"/_tags/v1 "$1/_manifests/$2"`, m.path("app"), index.Digest.String())
	if slices.Contains(names(t, m.path("app/_manifests")), signature.Digest.String()) {
		t.Error("the signature of a deleted index is listed")
	}
	_, err := sdkClient(t, s).GetManifestProperties(t.Context(), "app", signature.Digest.String(), nil)
	checkResponse(t, "the signature", err, http.StatusNotFound)
}

// TestRepositoryGoesWithAllInIt is rm -r of a repository with another below.
func TestRepositoryGoesWithAllInIt(t *testing.T) {
	s := newLocalACR(t)
	index := fixture.MultiArch("1")
	push(t, s, "library/app", "v1", index)
	push(t, s, "library/app", "", fixture.Referrer(index, "application/vnd.example.signature", "sig", "signed"))
	push(t, s, "library/app/docs", "v1", fixture.Chart("1"))
	push(t, s, "library/other", "v1", fixture.Chart("1"))
	m := mountServer(t, s, "--writable")
	checkErrno(t, "rmdir of a repository with content", unix.Rmdir(m.path("library/app")), unix.ENOTEMPTY)
	shell(t, `rm -r "$1"`, m.path("library/app"))
	if got := names(t, m.path("library")); !slices.Equal(got, []string{"other"}) {
		t.Errorf("after rm -r the library has %q", got)
	}
	_, err := sdkClient(t, s).GetRepositoryProperties(t.Context(), "library/app", nil)
	checkResponse(t, "the repository", err, http.StatusNotFound)
	_, err = sdkClient(t, s).GetRepositoryProperties(t.Context(), "library/app/docs", nil)
	checkResponse(t, "the repository below it", err, http.StatusNotFound)
	checkPulled(t, s, "library/other", "v1", fixture.Chart("1"))
}

// TestWhatIsNoDeletionAndNoFlagIsRefused tries all else on a writable mount.
func TestWhatIsNoDeletionAndNoFlagIsRefused(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		push(t, s, "app", "v1", fixture.MultiArch("1"))
		push(t, s, "app", "files", fixture.Files("dir/a.txt", "a"))
		m := mountServer(t, s, "--writable")
		s.gate.forget()
		checkOtherChanges(t, m, unix.EPERM)
		checkChangesSent(t, s)
		checkArtifact(t, m.tagDir("app", "v1"), fixture.MultiArch("1"))
	})
}

// TestEmptyRepositoryIsDeleted has the registry keep a repository without
// anything in it. The removal of its directory is one request.
func TestEmptyRepositoryIsDeleted(t *testing.T) {
	for name, script := range map[string]string{"rmdir": `rmdir "$1"`, "rm -r": `rm -r "$1"`, "find -delete": `find "$1" -delete`} {
		t.Run(name, func(t *testing.T) {
			s := newLocalACR(t)
			push(t, s, "team/app", "v1", fixture.Chart("1"))
			push(t, s, "team/other", "v1", fixture.Chart("1"))
			m := mountServer(t, s, "--writable")
			for path, body := range map[string]string{
				"/acr/v1/team/app/_tags":      `{"tags":null}`,
				"/acr/v1/team/app/_manifests": `{"manifests":[]}`,
				"/acr/v1/team/app":            `{"imageName":"team/app","manifestCount":0,"tagCount":0,"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}}`,
			} {
				s.gate.add(func(r *http.Request) bool { return r.URL.Path == path && isGet(r) }, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					w.Header().Set("Content-Type", "application/json")
					io.WriteString(w, body)
				})
			}
			s.gate.forget()
			shell(t, script, m.path("team/app"))
			checkChangesSent(t, s, "DELETE /acr/v1/team/app")
			if got := names(t, m.path("team")); !slices.Equal(got, []string{"other"}) {
				t.Errorf("the folder has %q", got)
			}
			if got := (judge{t, sdkClient(t, s)}).repositories(""); !slices.Equal(got, []string{"team/other"}) {
				t.Errorf("the registry has %q", got)
			}
		})
	}
}

// TestLocksAreAttributes locks, tries, unlocks and deletes, with setfattr.
func TestLocksAreAttributes(t *testing.T) {
	needTools(t, "setfattr")
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s, "--writable")
	tag := m.tagDir("app", "v1")
	shell(t, `for f in can_write can_delete; do setfattr -n user.acr.$f -v false "$1"; done`, tag)
	properties, err := sdkClient(t, s).GetTagProperties(t.Context(), "app", "v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if flags := properties.Tag.ChangeableAttributes; *flags.CanWrite || *flags.CanDelete || !*flags.CanRead || !*flags.CanList {
		t.Errorf("after two flags were set the tag has %+v", flags)
	}
	if r := run(t, "rm", "-r", tag); r.code == 0 || !strings.Contains(r.stderr, "not permitted") {
		t.Errorf("rm -r of a locked tag: %s", r)
	}
	for _, row := range []struct {
		name, value string
		want        error
	}{
		{"user.acr.can_delete", "perhaps", unix.EINVAL}, {"user.acr.digest", "x", unix.EPERM}, {"user.nothing", "x", unix.ENOTSUP},
	} {
		if err := unix.Setxattr(tag, row.name, []byte(row.value), 0); err != row.want {
			t.Errorf("setxattr %s=%s: %v, want %v", row.name, row.value, err, row.want)
		}
	}
	checkErrno(t, "removexattr", unix.Removexattr(tag, "user.acr.can_delete"), unix.EPERM)
	shell(t, `for f in can_write can_delete; do setfattr -n user.acr.$f -v true "$1"; done; rm -r "$1"`, tag)
	_, err = sdkClient(t, s).GetTagProperties(t.Context(), "app", "v1", nil)
	checkResponse(t, "the deleted tag", err, http.StatusNotFound)
}

// TestLimitsOfDeleting are the flags that keep a slip small.
func TestLimitsOfDeleting(t *testing.T) {
	s := newLocalACR(t)
	for i := range 5 {
		push(t, s, "team/app", fmt.Sprintf("v%d", i), fixture.Chart(fmt.Sprint(i)))
	}
	push(t, s, "other", "v1", fixture.Chart("1"))
	s.gate.forget()

	dry := mountServer(t, s, "--writable", "--dry-run")
	shell(t, `rm -r "$1"`, dry.path("team/app"))
	if _, err := os.Stat(dry.path("team/app")); !os.IsNotExist(err) {
		t.Errorf("after a dry run of rm -r the mount still shows the repository: %v", err)
	}
	dry.unmount()
	checkChangesSent(t, s)

	below := mountServer(t, s, "--writable=team", "--max-deletes", "2")
	if r := run(t, "rm", "-r", below.tagDir("other", "v1")); r.code == 0 || !strings.Contains(r.stderr, "not permitted") {
		t.Errorf("rm -r outside the prefix: %s", r)
	}
	if r := run(t, "sh", "-c", `rm -r "$1"/v*`, "sh", below.path("team/app/_tags")); r.code == 0 || !strings.Contains(r.stderr, "not permitted") {
		t.Errorf("rm -r of five tags with --max-deletes 2: %s", r)
	}
	if got := len(names(t, below.path("team/app/_tags"))); got != 3 {
		t.Errorf("%d tags are left, want 3", got)
	}
	blob := below.path("team/app/_blobs", fixture.Chart("1").Blobs[0].Digest.String())
	checkErrno(t, "rm of a blob without --allow-blob-delete", unix.Unlink(blob), unix.EPERM)
}

// TestNewestThreeAreKept runs the line that people clean up with.
func TestNewestThreeAreKept(t *testing.T) {
	s := newLocalACR(t)
	var kept []string
	for i := range 6 {
		chart := fixture.Chart(fmt.Sprint(i))
		push(t, s, "app", "latest", chart)
		if i >= 3 {
			kept = append(kept, chart.Digest.String())
		}
	}
	m := mountServer(t, s, "--writable")
	shell(t, `cd "$1" && ls -t | tail -n +4 | xargs -r rm -r`, m.path("app/_manifests"))
	if diff := cmp.Diff(sorted(kept), names(t, m.path("app/_manifests"))); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if got := filepath.Base(m.tagDir("app", "latest")); !slices.Contains(names(t, m.path("app/_tags")), got) {
		t.Error("the tag of the newest is gone")
	}
}

// TestPlainRegistryDeletesManifests is what a registry without ACR's API can.
func TestPlainRegistryDeletesManifests(t *testing.T) {
	s := newDistribution(t)
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	push(t, s, "app", "other", fixture.Chart("2"))
	push(t, s, "app", "same", chart)
	m := mountServer(t, s, "--writable")
	names(t, m.path("app/_tags")) // which tells no digests, and is believed for a while
	shell(t, `rm -r "$1"`, m.manifestDir("app", chart.Digest))
	checkPulled(t, s, "app", "other", fixture.Chart("2"))
	if got := names(t, m.path("app/_tags")); !slices.Equal(got, []string{"other"}) {
		t.Errorf("tags after the deletion: %q", got)
	}
	// A tag's deletion must never take the manifest along.
	run(t, "rm", "-r", m.tagDir("app", "other"))
	checkPulled(t, s, "app", "", fixture.Chart("2"))
}
