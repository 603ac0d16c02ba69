package fs

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// xattrScript tries calls on attributes and prints their errors by name.
const xattrScript = `
import errno, os, sys
R, M = os.environ["R"], os.environ["M"]
D = R + "/_manifests/" + os.getxattr(R + "/_tags/v2", "user.acr.digest").decode()
def try_(want, call, *args):
    try:
        call(*args)
        got = "OK"
    except OSError as e:
        got = errno.errorcode[e.errno]
    if got != want:
        print(call.__name__, args, "is", got, "want", want)
CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
flag = "user.acr.can_write"
for path in (R, R + "/_tags/v2", D):
    for value in (b"true", b"true\n", b"true\0", b"false", b"true\n\0"):
        try_("OK", os.setxattr, path, flag, value)
        assert os.getxattr(path, flag).decode() == value.decode().strip("\n\0"), (path, value)
    for value in (b"", b"TRUE", b"1", b"yes", b" true", b"true ", b"\n", b"true\nfalse", b"x" * 65536):
        try_("EINVAL", os.setxattr, path, flag, value)
    try_("EEXIST", os.setxattr, path, flag, b"true", CREATE)
    try_("OK", os.setxattr, path, flag, b"true", REPLACE)
    try_("EPERM", os.setxattr, path, "user.acr.created_on", b"x")
    try_("EPERM", os.removexattr, path, flag)
    try_("ENODATA", os.removexattr, path, "user.nothing")
    for name in ("user.nothing", "user.acr.can_fly", "user." + "n" * 250):
        try_("ENOTSUP", os.setxattr, path, name, b"true")
        try_("ENOTSUP", os.setxattr, path, name, b"true", CREATE)
        try_("ENODATA", os.setxattr, path, name, b"true", REPLACE)
        try_("ENODATA", os.getxattr, path, name)
    for name in ("user." + "n" * 251, ""):
        try_("ERANGE", os.setxattr, path, name, b"true")
        try_("ERANGE", os.getxattr, path, name)
    for call in (os.getxattr, os.removexattr):
        try_("EINVAL", call, path, "user.")
    try_("EINVAL", os.setxattr, path, "user.", b"true")
    for name in ("security.selinux", "trusted.x", "system.posix_acl_access"):
        try_("ENOTSUP", os.getxattr, path, name)
    try_("ENOTSUP", os.setxattr, path, "security.selinux", b"x")
    try_("ENOTSUP", os.setxattr, path, "trusted.x", b"x")
f = R + "/_tags/v2/manifest.json"
for path in (f, R + "/_tags", M):
    try_("ENOTSUP", os.setxattr, path, flag, b"true")
    try_("ENOTSUP", os.setxattr, path, flag, b"true", CREATE)
    try_("ENODATA", os.setxattr, path, flag, b"true", REPLACE)
    try_("ENODATA", os.getxattr, path, flag)
    try_("EINVAL", os.getxattr, path, "user.")
try_("EPERM", os.setxattr, f, "user.oci.digest", b"x")
try_("EPERM", os.chmod, f, 0o600)
try_("EPERM", os.chown, f, 1, 1)
try_("EPERM", os.utime, f)
try_("EPERM", os.rename, f, f + "2")
try_("EPERM", os.link, f, R + "/_tags/v2/link")
`

func TestSettingAttributesAnswersAsALocalFileSystem(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	if out, err := w.sh("python3 - <<'END'" + xattrScript + "END"); err != nil || out != "" {
		t.Errorf("%s (%v)", out, err)
	}
}

func TestSettingAFlagChangesThatOneAlone(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.run("getfattr -d -m - $R $R/_tags/v2 > /dev/null")
	tag := registry.Ref{Repository: helloWorld, Tag: "v2"}
	w.set(tag, noDelete) // by someone else, after we looked
	w.run("setfattr -n user.acr.can_write -v false $R/_tags/v2")
	p, err := w.client.Properties(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if p.Access != (registry.Access{Known: true, CanList: true, CanRead: true}) {
		t.Errorf("flags %+v, want can_delete and can_write off", p.Access)
	}
	if out := w.run("getfattr -d -m can_ $R/_tags/v2"); !strings.Contains(out, `can_delete="false"`) || !strings.Contains(out, `can_write="false"`) {
		t.Errorf("the mount shows %s", out)
	}
	m, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Digest: p.Digest})
	if err != nil || !m.Access.CanDelete || !m.Access.CanWrite {
		t.Errorf("flags of the manifest %+v (%v), want all on", m.Access, err)
	}
}

func TestFlagOfAMissingTagTouchesNothing(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.fails("setfattr -n user.acr.can_write -v false $R/_tags/nothing", "No such file")
	if n := w.requests(http.MethodPatch); n != 0 {
		t.Errorf("%d updates were sent", n)
	}
	// One that went while we thought it was there.
	w.run("ls -l $R/_tags $R/_manifests > /dev/null")
	if err := w.client.Delete(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"}); err != nil {
		t.Fatal(err)
	}
	w.fails("setfattr -n user.acr.can_write -v false $R/_tags/v2", "No such file")
	for d, p := range w.manifests(helloWorld) {
		if !p.Access.CanWrite {
			t.Errorf("the manifest %s was locked", d)
		}
	}
	if _, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the tag: %v", err)
	}
}

func TestHiddenItemAnswersByNameAndCanBeShownAgain(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 100 * time.Millisecond})
	digest := w.run("getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v2")
	for _, item := range []string{"$R/_tags/v2", "$R/_manifests/" + digest, "$M/charts/hello"} {
		w.run("setfattr -n user.acr.can_list -v false " + item + "; sleep 0.2; ! ls $(dirname " + item + ") | grep -x $(basename " + item + ")")
		w.run("test $(getfattr --absolute-names --only-values -n user.acr.can_list " + item + ") = false")
		w.run("setfattr -n user.acr.can_list -v true " + item + "; sleep 0.2; ls $(dirname " + item + ") | grep -x $(basename " + item + ")")
	}
}

func TestHidingShowsAtTheNextLook(t *testing.T) {
	for _, dry := range []bool{false, true} {
		w := mounted(t, Config{Writable: &Writable{DryRun: dry}, MetadataTTL: time.Hour})
		digest := w.run("getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v2")
		for _, item := range []string{"$R/_tags/v2", "$R/_manifests/" + digest, "$M/charts/hello", "$R/docs"} {
			listed := "ls $(dirname " + item + ") | grep -x $(basename " + item + ")"
			w.run(listed)
			w.run("setfattr -n user.acr.can_list -v false " + item + " && ! " + listed + " && ls " + item)
			if out := w.run("getfattr --absolute-names -d -m can_ " + item); !strings.Contains(out, `can_list="false"`) {
				t.Errorf("%s says %s", item, out)
			}
			w.run("setfattr -n user.acr.can_list -v true " + item + " && " + listed)
		}
		w.m.Refresh()
		w.run("setfattr -n user.acr.can_list -v false $R/_tags/v2")
		w.m.Refresh() // from here on no listing has it
		w.run("! ls $R/_tags | grep -x v2 && setfattr -n user.acr.can_list -v true $R/_tags/v2 && ls $R/_tags | grep -x v2")
	}
}

func TestFlagsSetByOthersShowWithinTheTTL(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 200 * time.Millisecond})
	digest := w.run("getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v2")
	w.run("setfattr -n user.acr.can_delete -v false $R/_tags/v2 $R/_manifests/" + digest + "; setfattr -n user.acr.can_delete -v false $R; ls -lR $R >/dev/null")
	for _, ref := range []registry.Ref{{Repository: helloWorld, Tag: "v2"}, {Repository: helloWorld}} {
		w.set(ref, registry.AccessPatch{CanDelete: new(true)})
	}
	w.set(registry.Ref{Repository: helloWorld, Tag: "v2"}, noWrite)
	w.run(`sleep 0.3; for i in $R $R/_tags/v2; do test $(getfattr --absolute-names --only-values -n user.acr.can_delete $i) = true || exit; done
		test $(getfattr --absolute-names --only-values -n user.acr.can_write $R/_tags/v2) = false; test $(stat -c %a $R/_tags/v2/manifest.json) = 444`)
}

// asked counts the requests that read something while a script runs.
func (w *world) asked(script string) (n int64, out string) {
	w.t.Helper()
	before := w.requests(http.MethodGet) + w.requests(http.MethodHead)
	out = w.run(script)
	return w.requests(http.MethodGet) + w.requests(http.MethodHead) - before, out
}

func TestAttributesCostNoRequestAfterAListing(t *testing.T) {
	for _, writable := range []*Writable{nil, {}} {
		w := mounted(t, Config{Writable: writable, MetadataTTL: time.Hour})
		w.run("ls $R/_tags $R/_manifests > /dev/null")
		for script, lines := range map[string]int{
			"getfattr --absolute-names -d -m - $R/_tags/* $R/_manifests/*":                                   14,
			"for i in $R/_tags/* $R/_manifests/*; do attr -lq $i; done | grep -x acr.can_delete":             14,
			"getfattr --absolute-names -h -d -m - $R/_tags/v1":                                               1,
			"for i in $R/_tags/*; do getfattr -h -n security.selinux $i 2>&1; done | grep 'not supported'":   4,
			"for i in $R/_tags/*; do getfattr -h -n system.posix_acl_access $i 2>&1; done | grep supported":  4,
			"for i in $R/_manifests/*; do getfattr -n user.acr.nothing $i 2>&1; done | grep 'No such attri'": 10,
		} {
			n, out := w.asked(script)
			if n != 0 {
				t.Errorf("%s: %d requests", script, n)
			}
			if got := strings.Count(out, "can_delete") + strings.Count(out, "upported") + strings.Count(out, "No such"); got != lines {
				t.Errorf("%s: %d items answer, want %d:\n%s", script, got, lines, out)
			}
		}
		// What no listing tells is one request, however much of it is read.
		if n, _ := w.asked("getfattr --absolute-names -d -m - $R; getfattr --absolute-names -n user.acr.tag_count $R; ls -ld $R"); n != 1 {
			t.Errorf("a repository's attributes cost %d requests, want 1", n)
		}
	}
}

func TestAttributesOfOneItemCostOneRequest(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	digest := w.run("getfattr --absolute-names --only-values -n user.acr.digest $M/models/tiny/_tags/1.0")
	w.run("stat $R/_tags > /dev/null") // the way there
	for _, item := range []string{"_tags/v2", "_tags/v1"} {
		if n, out := w.asked("getfattr --absolute-names -d -m - $R/" + item); n > 1 || !strings.Contains(out, "can_read") {
			t.Errorf("%s cost %d requests, want 1 at most: %s", item, n, out)
		}
	}
	if n, _ := w.asked("getfattr --absolute-names -d -m - $M/models/tiny/_manifests/" + digest); n > 1 {
		t.Errorf("a manifest cost %d requests, want 1 at most", n)
	}
}

func TestToolsReadAndSetAttributes(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	out := w.run("getfattr --absolute-names -R -P -d -m - $M")
	for repo, items := range map[string][]string{helloWorld: {"", "/_tags/v1", "/_tags/v2/manifest.json", "/docs/_tags/latest/config.json"}, "models/tiny": {"/_tags/1.0"}} {
		for _, item := range items {
			if !strings.Contains(out, "# file: "+w.path(repo)+item+"\n") {
				t.Errorf("getfattr -R does not come to %s%s", repo, item)
			}
		}
	}
	for _, set := range []string{
		"setfattr -h -n user.acr.can_write -v false $R/_tags/v2",
		"attr -qs acr.can_write -V false $R/_tags/v2",
		`python3 -c 'import os; os.setxattr(os.environ["R"]+"/_tags/v2", "user.acr.can_write", b"false", follow_symlinks=False)'`,
	} {
		w.run(set + " && test $(getfattr --absolute-names --only-values -n user.acr.can_write $R/_tags/v2) = false && setfattr -n user.acr.can_write -v true $R/_tags/v2")
	}
}

func TestToolsCopyAttributesOut(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	to := t.TempDir()
	w.run("cd " + to + ` && rsync -aX $R/_tags/v2 rsynced && cp -r --preserve=xattr $R/_tags/v2 copied && tar -C $R/_tags --xattrs -cf x.tar v2 && mkdir tarred && tar -C tarred --xattrs --xattrs-include='user.*' -xf x.tar
		want=$(getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v2)
		for d in rsynced/v2 copied tarred/v2; do test $(getfattr --absolute-names --only-values -n user.acr.digest $d) = $want || { echo $d; exit 1; }; done
		test $(getfattr --absolute-names --only-values -n user.oci.digest copied/manifest.json) = $want`)
}
