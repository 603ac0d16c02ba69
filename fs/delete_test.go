package fs

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry"
)

func TestReadOnlyMountChangesNothing(t *testing.T) {
	w := mounted(t, Config{})
	w.run("mount -i -o remount,rw $M")
	for _, script := range []string{
		"rm -r $R/_tags/v2", "rmdir $R/_tags/v2", "rm $R/_tags/v2/manifest.json", "touch $R/x", "mkdir $R/x",
		"setfattr -n user.acr.can_delete -v false $R/_tags/v2", "echo x > $R/_tags/v2/manifest.json",
		"mv $R/_tags/v2/manifest.json $R/_tags/v2/x", "ln -s x $R/y", "chmod 600 $R/_tags/v2/manifest.json",
	} {
		w.fails(script, "Read-only file system")
	}
	if n := w.requests(http.MethodDelete) + w.requests(http.MethodPatch); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
}

func TestRemovingATagDirectoryDeletesTheTagAlone(t *testing.T) {
	for name, script := range map[string]string{
		"rm -r":        "rm -r $R/_tags/v2",
		"rm * + rmdir": "rm -rf $R/_tags/v2/* && rmdir $R/_tags/v2",
		"find -delete": "find $R/_tags/v2 -delete",
		"rmtree":       `python3 -c 'import shutil,os; shutil.rmtree(os.environ["R"]+"/_tags/v2")'`,
	} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}})
			before := w.manifests("library/hello-world")
			w.run(script)
			if n := w.requests(http.MethodDelete); n != 1 {
				t.Errorf("%d deletions were sent, want 1", n)
			}
			if got := w.tags("library/hello-world"); slices.Contains(got, "v2") || !slices.Contains(got, "v1") {
				t.Errorf("tags %v, want v1 and no v2", got)
			}
			if after := w.manifests("library/hello-world"); len(after) != len(before) {
				t.Errorf("%d manifests, want all %d", len(after), len(before))
			}
			if out := w.run("ls $R/_tags"); strings.Contains(out, "v2") {
				t.Errorf("ls shows v2 still: %s", out)
			}
			w.fails("ls $R/_tags/v2", "No such file")
		})
	}
}

func TestRmdirOfWhatHoldsSomethingIsRefused(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	for _, dir := range []string{"$R/_tags/v2", "$R/_tags", "$R/_manifests", "$R", "$M/library", "$R/_tags/latest/manifests"} {
		w.fails("rmdir "+dir, "Directory not empty")
	}
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
}

func TestToolsGoneAstrayDeleteNothing(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	src := t.TempDir()
	w.run("echo x > " + src + "/config.json; mkdir " + src + "/empty; tar -cf " + src + "/x.tar -C " + src + " config.json")
	for _, script := range []string{
		"cp -f " + src + "/config.json $R/docs/_tags/latest/config.json",
		"install " + src + "/config.json $R/docs/_tags/latest/config.json",
		"tar -xf " + src + "/x.tar -C $R/docs/_tags/latest",
		"rsync -r --delete " + src + "/empty/ $R/docs/_tags/latest/ && false",
		"rsync -r --delete " + src + "/empty/ $R/docs/_tags/",
		"rsync -aH --delete " + src + "/empty/ $M/",
		"echo x > $R/docs/_tags/latest/config.json",
		"mv $R/docs/_tags/latest/config.json $R/docs/_tags/latest/other",
	} {
		if out, err := w.sh(script); err == nil {
			t.Errorf("%s succeeded: %s", script, out)
		}
	}
	if !strings.Contains(w.log.String(), "rsync deletes nothing here") {
		t.Error("the log does not say why rsync --delete is refused")
	}
	w.run("mv $R/docs/_tags/latest/manifest.json " + src + "/moved || true")
	w.run("rsync -r --remove-source-files $R/docs/_tags/latest/ " + src + "/synced/")
	if n := w.requests(http.MethodDelete) + w.requests(http.MethodPut) + w.requests(http.MethodPost); n > w.requests(http.MethodPost) {
		t.Errorf("%d changes were sent", n)
	}
	if got := w.tags("library/hello-world/docs"); !slices.Contains(got, "latest") {
		t.Errorf("tags %v, want latest", got)
	}
}

func TestLockedItemIsNotDeleted(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.fails("rm -rf $R/_tags/v1", "Operation not permitted")
	w.run("test $(stat -c %a $R/_tags/v1/manifest.json) = 444")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1 && test $(stat -c %a $R/_tags/v1/manifest.json) = 644 && rm -r $R/_tags/v1")
	if got := w.tags("library/hello-world"); slices.Contains(got, "v1") {
		t.Errorf("tags %v, want no v1", got)
	}
}

// TestWhatNobodyMayReadCanBeDeleted: can_read keeps from pulling, not from
// cleaning up.
func TestWhatNobodyMayReadCanBeDeleted(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	tag := registry.Ref{Repository: "models/tiny", Tag: "1.0"}
	p, err := w.client.Properties(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	w.set(registry.Ref{Repository: "models/tiny", Digest: p.Digest}, registry.AccessPatch{CanRead: new(false)})
	w.fails("cat $M/models/tiny/_tags/1.0/manifest.json", "Operation not permitted")
	w.fails("rmdir $M/models/tiny/_tags/latest", "Operation not permitted") // who knows what is in it
	w.run("rm -r $M/models/tiny/_tags/1.0")
	if got := w.tags("models/tiny"); slices.Contains(got, "1.0") {
		t.Errorf("tags %v, want no 1.0", got)
	}
	w.run("rm -r $M/models/tiny")
	if left := w.manifestsOrNone("models/tiny"); left != 0 {
		t.Errorf("%d manifests are left", left)
	}
}

func TestManifestThatSomethingLiveNeedsIsBusy(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	child := w.run("basename $(readlink $R/_tags/v2/manifests/linux-amd64)")
	w.fails("rm -r $R/_manifests/"+child, "Device or resource busy")
	w.run("ls $R/_manifests/" + child + "/manifest.json") // hidden names are back
	// The signature of a live image.
	referrer := w.run(`cd $R/_manifests && for m in *; do getfattr --only-values -n user.oci.subject $m/manifest.json 2>/dev/null | grep -q . && echo $m && break; done`)
	if referrer == "" {
		t.Fatal("no referrer among the samples")
	}
	w.fails("rm -r $R/_manifests/"+referrer, "Device or resource busy")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	if !strings.Contains(w.log.String(), "held by tag") {
		t.Error("the log does not name what needs it")
	}

	// Cleaning up what is untagged spares all of it.
	before := len(w.manifests("library/hello-world"))
	w.sh(`cd $R/_manifests && for m in *; do getfattr -n user.acr.tags $m >/dev/null 2>&1 || rm -rf $m; done`)
	after := w.manifests("library/hello-world")
	if before-len(after) < 1 || after[child].Digest == "" || after[referrer].Digest == "" {
		t.Errorf("%d of %d manifests left, child %v, referrer %v", len(after), before, after[child].Digest, after[referrer].Digest)
	}
	w.run(`cat $(readlink -f $R/_tags/v2/manifests/linux-amd64)/config.json > /dev/null`)
}

func TestDeletingAManifestTakesItsTags(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1")
	w.run(`d=$(getfattr --only-values -n user.acr.digest $R/_tags/v2); ls $R/_tags/latest > /dev/null; rm -r $R/_manifests/$d`)
	if n := w.requests(http.MethodDelete); n != 1 {
		t.Errorf("%d deletions were sent, want 1", n)
	}
	if got := w.tags("library/hello-world"); slices.Contains(got, "v2") {
		t.Errorf("tags %v, want no v2", got)
	}
	if out := w.run("ls $R/_tags"); strings.Contains(out, "v2") {
		t.Errorf("ls shows v2: %s", out)
	}
	w.run("rm -r $R/_tags/v2") // whoever walks there can still remove it
	if n := w.requests(http.MethodDelete); n != 1 {
		t.Errorf("%d deletions were sent, want 1", n)
	}
	w.fails("rm -r $R/_tags/v2", "No such file")
}

func TestRemovingARepository(t *testing.T) {
	for name, script := range map[string]string{
		"rm -r":   "rm -r $R",
		"rmtree":  `python3 -c 'import shutil,os; shutil.rmtree(os.environ["R"])'`,
		"find":    "find $R -delete",
		"library": "rm -r $M/library",
	} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}})
			w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1")
			w.run(script)
			var left []string
			for repo, err := range w.client.Repositories(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				left = append(left, repo)
			}
			if slices.ContainsFunc(left, func(r string) bool { return strings.HasPrefix(r, "library/") }) {
				t.Errorf("repositories %v are left", left)
			}
			if out := w.run("ls $M; ls $M/library 2>&1 || true"); strings.Contains(out, "hello-world") {
				t.Errorf("ls shows it still: %s", out)
			}
			w.fails("ls $R", "No such file")
			w.fails("ls $M/library | grep .", "") // a folder that is empty, or gone, and no repository
		})
	}
}

// TestRemovalThatFailsInAnOutageChangesNothing: what may be served for longer, when
// the registry does not answer, still is.
func TestRemovalThatFailsInAnOutageChangesNothing(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, StaleIfError: time.Hour})
	look := "ls $M && ls $R/_tags && ls $R/_manifests && ! stat $M/nonsense 2>/dev/null"
	before := w.run(look)
	w.stop()
	w.m.tree.repository(helloWorld).pass(time.Minute)
	age(w.m.tree.catalog, time.Minute)
	w.fails("rmdir $R", "Input/output error")
	w.fails("rm -r $R/_manifests/$(ls $R/_manifests | head -1)", "error")
	if got := w.run(look); got != before {
		t.Errorf("got %q, want %q", got, before)
	}
}

func TestDryRunSendsNothingAndLooksDone(t *testing.T) {
	var auditLog lockedBuffer
	w := mounted(t, Config{Writable: &Writable{DryRun: true, Audit: &auditLog}})
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1 && rm -r $R")
	w.fails("ls $R", "No such file")
	if n := w.requests(http.MethodDelete) + w.requests(http.MethodPatch); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
	if got := w.tags("library/hello-world"); len(got) < 3 {
		t.Errorf("tags %v on the registry", got)
	}
	for _, want := range []string{`"delete tag","item":"library/hello-world:v2","outcome":"dry run"`, `"set can_delete=true"`, `"delete manifest"`} {
		if !strings.Contains(auditLog.String(), want) {
			t.Errorf("the audit log lacks %s:\n%s", want, auditLog.String())
		}
	}
}

func TestLimitsOfAWritableMount(t *testing.T) {
	var auditLog lockedBuffer
	w := mounted(t, Config{Writable: &Writable{Prefix: "library/hello-world", MaxDeletes: 1, Audit: &auditLog}})
	w.fails("rm -rf $M/models/tiny/_tags/1.0", "Operation not permitted")
	w.fails("setfattr -n user.acr.can_write -v false $M/models/tiny", "Operation not permitted")
	w.fails("rm -f $R/_blobs/$(cd $R/docs/_tags/latest; sha256sum config.json | sed 's/^/sha256:/;s/ .*//')", "")
	w.run("rm -r $R/_tags/v2")
	w.fails("rm -r $R/_tags/latest", "Operation not permitted")
	w.run("ls $R/_tags/latest/manifest.json")
	if n := w.requests(http.MethodDelete); n != 1 {
		t.Errorf("%d deletions were sent, want 1", n)
	}
	if log := auditLog.String(); !strings.Contains(log, `"outcome":"refused"`) || !strings.Contains(log, `"outcome":"sending"`) || !strings.Contains(log, `"outcome":"done"`) {
		t.Errorf("audit log:\n%s", log)
	}
}

func TestTagPushedAgainIsNotTouchedByAnOldRemoval(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.run("rm -rf $R/docs/_tags/latest/*") // half of a removal
	// Meanwhile the tag moves.
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: "library/hello-world/docs", Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	raw = append([]byte(strings.TrimSuffix(strings.TrimSpace(string(raw)), "}")), []byte(`,"annotations":{"n":"2"}}`)...)
	w.push("library/hello-world/docs", "latest", desc.MediaType, raw)
	w.run("sleep 1.1")
	w.fails("rmdir $R/docs/_tags/latest", "Directory not empty")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
}

// TestTagPushedAgainCanBeRemovedKnowingly: the refusal of the old removal is the
// last that is heard of the old tag, however long listings are believed.
func TestTagPushedAgainCanBeRemovedKnowingly(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	w.run("ls $R/_tags")
	age(w.m.tree.repository(helloWorld).tags, time.Minute)
	w.push(helloWorld, "latest", desc.MediaType, raw)
	w.fails("rm -r $R/_tags/latest", "Directory not empty")
	w.run("rm -r $R/_tags/latest")
	if got := w.tags(helloWorld); slices.Contains(got, "latest") {
		t.Errorf("tags %v, want no latest", got)
	}
}

func TestTagPushedAfterItsDeletionShowsAgain(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: -1})
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: "library/hello-world/docs", Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	w.run("cd $R/docs/_tags/latest && ls > /dev/null && rm -r $R/docs/_tags/latest && sleep 0.1")
	w.push("library/hello-world/docs", "latest", desc.MediaType, raw)
	w.run("ls $R/docs/_tags/latest/manifest.json && ls $R/docs/_tags | grep latest")
}

// TestRemovedDirectoryThatShowsAgainCanBeRemovedAgain: a removed _tags shows when
// its listing has grown old, and stays when a look inside tells that it is empty
// still.
func TestRemovedDirectoryThatShowsAgainCanBeRemovedAgain(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1 && rm -r $R/_tags && ! ls $R | grep _tags")
	w.m.tree.repository(helloWorld).pass(30 * time.Second)
	w.run("ls $R | grep _tags && ls $R/_tags && rmdir $R/_tags && ! ls $R | grep _tags")
}
