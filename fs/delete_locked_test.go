package fs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/registry"
)

// set changes flags behind the mount's back.
func (w *world) set(ref registry.Ref, patch registry.AccessPatch) {
	w.t.Helper()
	if _, err := w.client.Update(w.t.Context(), ref, patch); err != nil {
		w.t.Fatal(err)
	}
}

var (
	no         = false
	noDelete   = registry.AccessPatch{CanDelete: &no}
	noWrite    = registry.AccessPatch{CanWrite: &no}
	noList     = registry.AccessPatch{CanList: &no}
	helloWorld = "library/hello-world"
)

func TestRepositoryKeepsALockedItemAndWhatItNeeds(t *testing.T) {
	for name, script := range map[string]string{
		"rm -r":  "rm -r $R",
		"rmtree": `python3 -c 'import shutil,os,sys; shutil.rmtree(os.environ["R"], onerror=lambda f,p,e: failed.append(p)) if not globals().update(failed=[]) else 0; sys.exit(len(failed)>0)'`,
		"find":   "find $R -delete",
	} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}})
			kept := w.run(`d=$(getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v1); echo $d; for c in $R/_tags/v1/manifests/*; do basename $(readlink $c); done`)
			if out, err := w.sh(script); err == nil {
				t.Errorf("%s succeeded: %s", script, out)
			}
			if got := w.tags(helloWorld); !slices.Equal(got, []string{"v1"}) {
				t.Errorf("tags %v, want v1 alone", got)
			}
			left := w.manifests(helloWorld)
			for _, d := range strings.Fields(kept) {
				if _, ok := left[d]; !ok {
					t.Errorf("%s, which v1 needs, is gone", d)
				}
			}
			// All of it is still readable, through the mount too.
			w.run("cat $R/_tags/v1/manifests/*/config.json > /dev/null && ls $R/_tags | grep -x v1")
		})
	}
}

func TestRefusalSaysWhichFlagOnWhichLevel(t *testing.T) {
	var auditLog lockedBuffer
	w := mounted(t, Config{Writable: &Writable{Audit: &auditLog}, MetadataTTL: -1})
	index := w.run("getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v1")
	docs := helloWorld + "/docs"
	w.set(registry.Ref{Repository: docs}, noWrite)
	for _, row := range []struct{ script, want string }{
		{"rm -rf $R/_tags/v1", "can_delete=false on tag " + helloWorld + ":v1"},
		{"rm -rf $R/_manifests/" + index, "can_delete=false on tag " + helloWorld + ":v1"},
		{"rm -rf $R/docs/_tags/latest", "can_write=false on repository " + docs},
	} {
		w.fails(row.script, "Operation not permitted")
		if !strings.Contains(auditLog.String(), row.want) || !strings.Contains(w.log.String(), row.want) {
			t.Errorf("%s: audit log and log should say %q:\n%s", row.script, row.want, auditLog.String())
		}
	}
}

func TestDryRunRefusesWhatTheRegistryWouldRefuse(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{DryRun: true, AllowBlobDelete: true}})
	w.fails("rm -r $R/_manifests/$(getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v1)", "Operation not permitted")
	w.set(registry.Ref{Repository: helloWorld + "/docs"}, noWrite)
	w.fails("rm -r $R/docs/_tags/latest", "Operation not permitted")
	w.set(registry.Ref{Repository: "models/tiny"}, noDelete)
	w.fails("rm -r $M/models/tiny", "Operation not permitted")
	blob := "$M/charts/hello/_blobs/sha256:" + w.run("sha256sum $M/charts/hello/_tags/0.1.0/config.json | cut -d' ' -f1")
	w.run("rm " + blob + " && ! test -e " + blob + " && ls $M/charts/hello/_tags/0.1.0/config.json")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
}

// TestLockedRepositoryKeepsItsLastManifest: with that it would go itself. What
// else is in it has locks of its own.
func TestLockedRepositoryKeepsItsLastManifest(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	image, err := w.client.Properties(t.Context(), registry.Ref{Repository: "models/tiny", Tag: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	other := w.referTo("models/tiny", image.Digest, "goes, by itself")
	w.set(registry.Ref{Repository: "models/tiny"}, noDelete)
	w.run("rm -r $M/models/tiny/_tags/1.0 $M/models/tiny/_tags/latest $M/models/tiny/_manifests/" + other.String())
	w.fails("rm -r $M/models/tiny", "Operation not permitted")
	if left := w.manifestsOrNone("models/tiny"); left != 1 {
		t.Errorf("%d manifests are left, want 1", left)
	}
	if want := "can_delete=false on repository models/tiny"; !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	w.run("setfattr -n user.acr.can_delete -v true $M/models/tiny && rm -r $M/models/tiny && ! ls $M/models/tiny")
}

// TestLockedRepositoryKeepsItsLastManifestByName: nothing was listed when it is
// removed, or long ago, when it was not the last one.
func TestLockedRepositoryKeepsItsLastManifestByName(t *testing.T) {
	const repo = "models/tiny"
	for name, before := range map[string]func(w *world, last registry.Properties){
		"nothing listed": func(*world, registry.Properties) {},
		"listed long ago": func(w *world, last registry.Properties) {
			other := registry.Ref{Repository: repo, Digest: w.referTo(repo, last.Digest, "goes")}
			w.run("ls $M/models/tiny/_manifests")
			age(w.m.tree.repository(repo).manifests, time.Minute)
			if err := w.client.Delete(w.t.Context(), other); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
			last, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
			if err != nil {
				t.Fatal(err)
			}
			before(w, last)
			w.set(registry.Ref{Repository: repo}, noDelete)
			w.fails("rm -r $M/models/tiny/_manifests/"+last.Digest.String(), "Operation not permitted")
			if n := w.manifestsOrNone(repo); n != 1 {
				t.Errorf("%d manifests are left, want 1", n)
			}
		})
	}
}

func TestWhatIsHiddenFromListingsIsNotDeletedWithTheRepository(t *testing.T) {
	t.Parallel() // it waits for counts that might still settle
	w := mounted(t, Config{Writable: &Writable{}})
	w.set(registry.Ref{Repository: helloWorld, Tag: "v1"}, registry.AccessPatch{CanDelete: new(true)})
	raw := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[],"annotations":{"secret":"1"}}`)
	w.push(helloWorld, "secret", ocispec.MediaTypeImageIndex, raw)
	p, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(registry.Ref{Repository: helloWorld, Tag: "secret"}, noList)
	w.set(registry.Ref{Repository: helloWorld, Digest: p.Digest}, noList)
	w.fails("rm -r $R", "Directory not empty")
	if _, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Digest: p.Digest}); err != nil {
		t.Errorf("the unlisted manifest: %v", err)
	}
	w.run("ls $R/_manifests/" + p.Digest.String() + "/manifest.json && rm -r $R/_manifests/" + p.Digest.String() + " && rm -r $R")
}

func TestSignaturesComeAfterWhatTheySignWhenAllManifestsAreRemoved(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	// Many signatures, so that some digest sorts before the subject's.
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: helloWorld + "/docs", Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		signature := strings.TrimSuffix(strings.TrimSpace(string(raw)), "}") + fmt.Sprintf(
			`,"annotations":{"n":"%d"},"subject":{"mediaType":%q,"digest":%q,"size":%d}}`, i, desc.MediaType, desc.Digest, len(raw))
		w.push(helloWorld+"/docs", fmt.Sprintf("s%d", i), desc.MediaType, []byte(signature))
		if err := w.client.Delete(t.Context(), registry.Ref{Repository: helloWorld + "/docs", Tag: fmt.Sprintf("s%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.run("rm -r $R/docs/_manifests")
	if left := w.manifestsOrNone(helloWorld + "/docs"); left != 0 {
		t.Errorf("%d manifests are left", left)
	}
}

// manifestsOrNone counts a repository's manifests; one that is gone has none.
func (w *world) manifestsOrNone(repo string) (n int) {
	for _, err := range w.client.Manifests(w.t.Context(), repo, registry.ListOptions{}) {
		if err != nil {
			return n
		}
		n++
	}
	return n
}

func TestDeletingManifestsTakesAsManyRequests(t *testing.T) {
	const many = 300
	w := mounted(t, Config{Writable: &Writable{}})
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: helloWorld + "/docs", Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		one := strings.TrimSuffix(strings.TrimSpace(string(raw)), "}") + fmt.Sprintf(`,"annotations":{"n":"%d"}}`, i)
		w.push(helloWorld+"/docs", "moving", desc.MediaType, []byte(one))
	}
	w.run("ls $R/docs/_manifests > /dev/null")
	deleted, got := w.requests(http.MethodDelete), w.requests(http.MethodGet)+w.requests(http.MethodHead)
	// All but the two that a tag holds.
	w.run(`cd $R/docs/_manifests && for m in *; do getfattr -n user.acr.tags $m >/dev/null 2>&1 || rm -r $m; done`)
	deleted, got = w.requests(http.MethodDelete)-deleted, w.requests(http.MethodGet)+w.requests(http.MethodHead)-got
	if deleted != many-1 {
		t.Errorf("%d deletions, want %d", deleted, many-1)
	}
	if got > deleted+10 {
		t.Errorf("%d reads for %d deletions", got, deleted)
	}
	t.Logf("%d deletions, %d reads", deleted, got)
}

func TestDirectoryThatComesBackIsNeverSeenEmpty(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	// A shell stands in directories that are removed inside one that stays.
	w.run(`cd $R/_tags/latest/manifests && n=$(ls $R/_tags/latest/manifests | wc -l) && test $n -gt 0
		rm -rf $R/_tags/latest/manifests && ! rmdir $R/_tags/latest 2>/dev/null
		test $(ls $R/_tags/latest/manifests | wc -l) = $n`)
	w.run(`cd $M/models/tiny/_tags && rm -rf $M/models/tiny/_tags/* && rmdir $M/models/tiny/_tags && ! rmdir $M/models/tiny 2>/dev/null; ls $M/models/tiny | grep -x _tags`)
	// One that holds on to a repository that is deleted and pushed again.
	w.stand("$R/docs/_tags/latest")
	w.run("rm -r $R/docs")
	w.fails("ls $R/docs", "No such file")
	if err := w.server.Seed(t.Context()); err != nil { // all of it, again
		t.Fatal(err)
	}
	w.m.Refresh()
	w.run("ls $R/docs | grep -x _tags && ls $R/docs/_tags | grep -x latest && ls $R/docs/_tags/latest | grep -x manifest.json && grep -r . $R/docs/_tags/latest > /dev/null")
}

// stand has a shell hold on to a directory until the test ends.
func (w *world) stand(dir string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "bash", "-c", "cd "+dir+" && ls >/dev/null && echo ready && exec sleep 60")
	cmd.Env = append(os.Environ(), "M="+w.dir, "R="+w.path(helloWorld))
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		w.t.Fatal(err)
	}
}

func TestArtifactThatIsPushedAgainIsNeverSeenEmpty(t *testing.T) {
	const repo = "models/tiny"
	for _, ttl := range []time.Duration{-1, time.Hour} {
		w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: ttl})
		raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"$M/" + repo + "/_tags/1.0", "$M/" + repo + "/_manifests/" + desc.Digest.String(), "$M/" + repo + "/_tags/latest"} {
			w.stand(dir)
			w.run("cd " + dir + " && rm -r " + dir + " && ! ls $PWD 2>/dev/null")
			for _, tag := range []string{"1.0", "latest"} {
				w.push(repo, tag, desc.MediaType, raw)
			}
			w.m.Refresh()
			w.run("ls " + dir + " | grep -x manifest.json && cd " + dir + " && ls | grep -x manifest.json && cat manifest.json")
		}
	}
}

func TestEveryRefusalHasItsLine(t *testing.T) {
	var auditLog lockedBuffer
	w := mounted(t, Config{Writable: &Writable{Audit: &auditLog, Prefix: "library"}})
	child := w.run("basename $(readlink $R/_tags/v2/manifests/linux-amd64)")
	for _, row := range []struct{ script, words, want string }{
		{"touch $R/x", "not permitted", `"action":"create","item":"/library/hello-world/x","outcome":"refused"`},
		{"mkdir $R/x", "not permitted", `"action":"mkdir"`},
		{"mv $R/_tags/v2/manifest.json $R/_tags/v2/x", "not permitted", `"action":"rename"`},
		{"chmod 600 $R/_tags/v2/manifest.json", "not permitted", `"action":"setattr"`},
		{"setfattr -n user.acr.can_write -v maybe $R/_tags/v2", "Invalid argument", `"action":"set can_write=maybe","item":"library/hello-world:v2","outcome":"refused"`},
		{"setfattr -n user.acr.can_fly -v true $R/_tags/v2", "not supported", `"action":"set can_fly=true"`},
		{"setfattr -x user.acr.can_write $R/_tags/v2", "not permitted", `"action":"remove user.acr.can_write"`},
		{"rm -rf $R/_manifests/" + child, "busy", `"outcome":"refused","reason":"something live needs it: index `},
		{"rmdir $R/_tags/latest", "not empty", `"action":"delete tag","item":"library/hello-world:latest","outcome":"refused","reason":"not empty"`},
		{"rmdir $R", "not empty", `"action":"delete repository","item":"library/hello-world","outcome":"refused","reason":"not empty"`},
		{"rm -rf $M/models/tiny", "not permitted", `"reason":"outside the prefix that is writable"`},
		{"rm -f $R/_blobs/$(getfattr --absolute-names --only-values -n user.oci.digest $R/docs/_tags/latest/config.json)", "not permitted", `"action":"delete blob"`},
	} {
		logged := len(w.log.String())
		w.fails(row.script, row.words)
		if !strings.Contains(auditLog.String(), row.want) {
			t.Errorf("%s: no line with %s:\n%s", row.script, row.want, auditLog.String())
		}
		lines := slices.DeleteFunc(strings.Split(w.log.String()[logged:], "\n"), func(line string) bool {
			return !strings.Contains(line, "level=WARN") || strings.Contains(line, "unlink")
		})
		if len(lines) != 1 || !strings.Contains(lines[0], "msg=change") || !strings.Contains(lines[0], "errno=") {
			t.Errorf("%s: want one line in the log, got\n%s", row.script, strings.Join(lines, "\n"))
		}
	}
	for line := range strings.Lines(auditLog.String()) {
		var entry struct {
			Time    time.Time
			UID     *uint32
			PID     uint32
			Outcome string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.PID == 0 || entry.UID == nil || entry.Outcome != "refused" {
			t.Errorf("line %s: %v", line, err)
		}
	}
}

func TestRepositoryThatIsPushedToWhileItIsRemovedShowsItsTags(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 300 * time.Millisecond})
	repo := helloWorld + "/docs"
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	w.run("rm -r $R/docs/_tags && rm -r $R/docs/_blobs && ! ls $R/docs | grep _tags") // and now rm goes on with _manifests
	w.push(repo, "latest", desc.MediaType, raw)
	w.run("sleep 0.4; ls $R/docs | grep -x _tags && ls $R/docs | grep -x _blobs && ls $R/docs/_tags | grep -x latest && ls $R/docs/_tags/latest/manifest.json")
}

// TestRepositoryThatIsPushedAgainAfterItWentIsNotRemoved: whoever removed its last
// manifest is told that there is something again.
func TestRepositoryThatIsPushedAgainAfterItWentIsNotRemoved(t *testing.T) {
	const repo = "models/tiny"
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	w.run("ls $M && rm -r $M/models/tiny/_manifests/*")
	w.push(repo, "1.0", desc.MediaType, raw)
	w.run("ls $M/models/tiny/_tags | grep -x 1.0")
	w.fails("rmdir $M/models/tiny", "Directory not empty")
	if got := w.tags(repo); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("tags %v, want 1.0", got)
	}
}

// TestLockOfARepositoryIsKnownBeforeItsLastManifestGoes, however long its
// properties are believed.
func TestLockOfARepositoryIsKnownBeforeItsLastManifestGoes(t *testing.T) {
	const repo = "models/tiny"
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	w.run("getfattr -d -m - $M/models/tiny")
	w.set(registry.Ref{Repository: repo}, noDelete) // by somebody else
	w.m.tree.repository(repo).pass(2 * liveTrust)
	w.fails("rm -r $M/models/tiny/_manifests/*", "Operation not permitted")
	if got := w.tags(repo); len(got) == 0 {
		t.Error("it went with its lock")
	}
}

// TestSignatureThatWentWithTheRepositoryIsGone, although it was listed a moment
// before.
func TestSignatureThatWentWithTheRepositoryIsGone(t *testing.T) {
	const repo = "models/tiny"
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
	subject, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	signature := w.referTo(repo, subject.Digest, "signature")
	w.run("ls $M/models/tiny/_manifests && rm -r $M/models/tiny/_manifests/" + subject.Digest.String())
	w.sh("ls $M/models/tiny/_manifests")
	w.m.tree.repository(repo).pass(overTheLag)
	w.fails("stat $M/models/tiny/_manifests/"+signature.String(), "No such file")
}

func TestNothingIsLeftOfAHiddenRepositoryThatWasDeleted(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: -1})
	w.run("ls $M; setfattr -n user.acr.can_list -v false $M/models/tiny; stat $M/models/tiny && rm -r $M/models/tiny")
	w.m.tree.repository("models/tiny").pass(overTheLag)
	w.fails("stat $M/models", "No such file")
}

func TestSameTagPushedAgainIsNotTouchedByAnOldRemoval(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 50 * time.Millisecond})
	repo := helloWorld + "/docs"
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	w.run("rm -rf $R/docs/_tags/latest/*") // half of a removal
	if err := w.client.Delete(t.Context(), registry.Ref{Repository: repo, Tag: "latest"}); err != nil {
		t.Fatal(err)
	}
	w.push(repo, "latest", desc.MediaType, raw)
	w.run("sleep 0.1")
	w.fails("rmdir $R/docs/_tags/latest", "Directory not empty")
	if got := w.tags(repo); !slices.Contains(got, "latest") {
		t.Errorf("tags %v, want latest", got)
	}
	w.run("rm -r $R/docs/_tags/latest")
}
