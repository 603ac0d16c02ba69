package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// isDeletion tells requests that take something away.
func isDeletion(r *record) bool { return r.Method == http.MethodDelete }

// asUser runs a script as somebody, with $M and $R, and returns what it said.
func asUser(t *testing.T, id uint32, m *mount, repo, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "M="+m.dir, "R="+m.path(repo))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// removers are the ways to remove a directory with all that is in it.
var removers = map[string]string{
	"rm -r":         `rm -r "$D"`,
	"rm, rmdir":     `rm -rf "$D"/* && rmdir "$D"`,
	"find -delete":  `find "$D" -delete`,
	"find -exec rm": `find "$D" -depth -type f -exec rm {} + ; find "$D" -depth -type l -exec rm {} +; find "$D" -depth -type d -exec rmdir {} \;`,
	"shutil.rmtree": `python3 -c 'import os, shutil; shutil.rmtree(os.environ["D"])'`,
	"os.RemoveAll":  `"$REMOVEALL" "$D"`,
}

// TestEveryToolDeletesWithOneRequest removes a tag, then its manifest, with
// each tool, as root and as the mount's owner who is not root.
func TestEveryToolDeletesWithOneRequest(t *testing.T) {
	needRoot(t)
	needTools(t, "find", "python3")
	removeAll := openDir(t) + "/removeall"
	source := removeAll + ".go"
	if err := os.WriteFile(source, []byte("package main\n\nimport \"os\"\n\nfunc main() {\n\tif err := os.RemoveAll(os.Args[1]); err != nil {\n\t\tpanic(err)\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", removeAll, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, id := range []uint32{0, 65534} {
		s := newLocalACR(t)
		m := mountServer(t, s, "--writable", "--allow-other", fmt.Sprintf("--uid=%d", id))
		i := 0
		for name, script := range removers {
			i++
			repo := fmt.Sprintf("team/app%d", i)
			image := fixture.ManifestList("1")
			push(t, s, repo, "v1", image)
			push(t, s, repo, "files", fixture.Files("a folder/b c.txt", "x", "d.txt", "y"))
			must(t, acrfs(t), "refresh", m.dir)
			for _, what := range []string{"_tags/files", "_tags/v1", "_manifests/" + image.Digest.String()} {
				s.gate.forget()
				out, err := asUser(t, id, m, repo, "export D=$R/"+what+" REMOVEALL="+removeAll+"; "+script)
				if err != nil || out != "" {
					t.Errorf("%s of %s as %d: %v %s", name, what, id, err, out)
				}
				if n := s.gate.count(isDeletion); n != 1 {
					t.Errorf("%s of %s: %d deletions, want 1\n%s", name, what, n, s.gate.describe())
				}
			}
			j := judge{t, sdkClient(t, s)}
			if got := j.tags(repo); len(got) != 0 {
				t.Errorf("%s: tags %v are left", name, got)
			}
			if got := len(j.manifests(repo)); got != 3 {
				t.Errorf("%s: %d manifests are left, want the images of the index and the files", name, got)
			}
			s.gate.forget()
			if out, err := asUser(t, id, m, repo, "export D=$R REMOVEALL="+removeAll+"; "+script); err != nil || out != "" {
				t.Errorf("%s of a repository as %d: %v %s", name, id, err, out)
			}
			if n := s.gate.count(isDeletion); n != 3 {
				t.Errorf("%s of the repository: %d deletions, want 3\n%s", name, n, s.gate.describe())
			}
		}
		if left := (judge{t, sdkClient(t, s)}).repositories("team"); len(left) > 0 {
			t.Errorf("repositories %q are left", left)
		}
	}
}

// TestDryRunLetsEveryToolRunToItsEnd removes whole repositories without one
// request that changes anything; the audit log is the plan.
func TestDryRunLetsEveryToolRunToItsEnd(t *testing.T) {
	needTools(t, "find", "python3")
	s := newLocalACR(t)
	log := filepath.Join(openDir(t), "audit")
	repos := map[string]string{}
	for name := range removers {
		if name == "os.RemoveAll" {
			continue // a program to build; it is no other than shutil.rmtree here
		}
		repo := fmt.Sprintf("team/app%d", len(repos))
		repos[repo] = name
		image := fixture.ManifestList("1")
		push(t, s, repo, "v1", image)
		push(t, s, repo, "", fixture.Referrer(image, "application/vnd.example.signature", "sig", "signed"))
		push(t, s, repo+"/nested", "files", fixture.Files("a folder/b c.txt", "x"))
	}
	m := mountServer(t, s, "--writable", "--dry-run", "--audit-log", log)
	s.gate.forget()
	for repo, name := range repos {
		out, err := asUser(t, uint32(os.Geteuid()), m, repo, "export D=$R; "+removers[name]+` && ! ls "$D" 2>/dev/null`)
		if err != nil || out != "" {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
	if n := s.gate.count(func(r *record) bool {
		return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Path != "/oauth2/token"
	}); n != 0 {
		t.Errorf("%d requests that change something:\n%s", n, s.gate.describe())
	}
	plan, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for repo, name := range repos {
		for _, want := range []string{ // rm _manifests _tags … comes to a tag when it went with its manifest
			`"action":"delete manifest","item":"` + repo + `@` + fixture.ManifestList("1").Digest.String() + `","outcome":"dry run"`,
			`"action":"delete tag","item":"` + repo + `/nested:files","outcome":"dry run"`,
		} {
			if !strings.Contains(string(plan), want) {
				t.Errorf("%s: the plan lacks %s", name, want)
			}
		}
	}
}

// TestSubjectOfALockedReferrerIsKept: deleting it would take the referrer.
func TestSubjectOfALockedReferrerIsKept(t *testing.T) {
	s := newLocalACR(t)
	image := fixture.ManifestList("1")
	signature := fixture.Referrer(image, "application/vnd.example.signature", "sig", "signed")
	push(t, s, "app", "v1", image)
	push(t, s, "app", "", signature)
	j := judge{t, sdkClient(t, s)}
	j.lock("app", "", signature.Digest.String())
	for _, flags := range [][]string{{"--writable", "--dry-run"}, {"--writable"}} {
		m := mountServer(t, s, flags...)
		if out, err := asUser(t, uint32(os.Geteuid()), m, "app", "rm -r $R"); err == nil || !strings.Contains(out, "Operation not permitted") {
			t.Errorf("%v: %v %s", flags, err, out)
		}
		m.output.await(t, "can_write=false on manifest app@"+signature.Digest.String()) // which lock
	}
	want := sorted([]string{image.Digest.String(), signature.Digest.String(), image.Children[0].Digest.String(), image.Children[1].Digest.String()})
	if diff := cmp.Diff(want, sorted(j.manifests("app"))); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}

// TestOnlyTheOwnerDeletes has another user try, and the owner on a terminal:
// rm asks nothing there.
func TestOnlyTheOwnerDeletes(t *testing.T) {
	needRoot(t)
	needTools(t, "script")
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.ManifestList("1"))
	m := mountServer(t, s, "--writable", "--allow-other", "--uid=65534")
	out, err := asUser(t, 65533, m, "app", "rm -rf $R/_tags/v1; setfattr -n user.acr.can_write -v false $R/_tags/v1")
	if err == nil || strings.Count(out, "ermission denied") < 2 || s.gate.count(isDeletion) != 0 {
		t.Errorf("another user: %v %s", err, out)
	}
	out, err = asUser(t, 65534, m, "app", `timeout 20 script -qec "rm -r $R" /dev/null </dev/null`)
	if err != nil || strings.Contains(out, "?") {
		t.Errorf("on a terminal: %v %s", err, out)
	}
	if left := (judge{t, sdkClient(t, s)}).repositories(""); len(left) > 0 {
		t.Errorf("repositories %q are left", left)
	}
}

// TestPlainRegistryDeletes is what a registry does that has no flags and
// cannot list manifests.
func TestPlainRegistryDeletes(t *testing.T) {
	s := newDistribution(t)
	index := fixture.ManifestList("1")
	push(t, s, "app", "v1", index)
	push(t, s, "app", "also", index)
	push(t, s, "app", "chart", fixture.Chart("1"))
	m := mountServer(t, s, "--writable", "--metadata-ttl", "100ms")
	child := index.Children[0].Digest.String()
	for _, row := range []struct{ script, fails string }{
		{"setfattr -n user.acr.can_write -v false $R/_tags/v1", "not supported"},
		{"setfattr -n user.acr.can_write -v false $R", "not supported"},
		{"rm -r $R/_manifests/" + child, "busy"},
		{"rm -r $R/_tags/v1 && ! ls $R/_tags/v1 2>/dev/null && ls $R/_tags/also/manifest.json", ""},
		{"rm -r $R/_manifests/" + index.Digest.String() + "&& ! ls $R/_tags | grep also", ""},
		{"rm -r $R/_manifests/" + child, ""},
		{"rm -r $R", "not supported"},
		{"sleep 0.2; test -z \"$(ls $R/_tags)\"", ""},
	} {
		out, err := asUser(t, uint32(os.Geteuid()), m, "app", row.script)
		if row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(out, row.fails)) {
			t.Errorf("%s: %v %s, want %q", row.script, err, out, row.fails)
		}
	}
}

// TestThrottledDeletionsWait answers deletions with 429 for a while, and then
// for longer than waiting allows.
func TestThrottledDeletionsWait(t *testing.T) {
	faults := localacr.NewFaults(1)
	s := startLocalACR(t, localacr.Config{Root: t.TempDir(), Faults: faults})
	push(t, s, "app", "v1", fixture.Chart("1"))
	push(t, s, "app", "v2", fixture.Chart("2"))
	m := mountServer(t, s, "--writable", "--throttle-wait", "4s")
	me := uint32(os.Geteuid())
	hits := faults.Add(localacr.Fault{Method: http.MethodDelete, Count: 2, Effect: localacr.Effect{Status: http.StatusTooManyRequests, RetryAfter: "1"}})
	if out, err := asUser(t, me, m, "app", "rm -r $R/_tags/v1"); err != nil || hits() != 2 {
		t.Errorf("throttled %d times: %v %s", hits(), err, out)
	}
	faults.Add(localacr.Fault{Method: http.MethodDelete, Effect: localacr.Effect{Status: http.StatusTooManyRequests, RetryAfter: "1"}})
	began := time.Now()
	out, err := asUser(t, me, m, "app", "rm -r $R/_tags/v2")
	if took := time.Since(began); err == nil || !strings.Contains(out, "timed out") || took < time.Second || took > 15*time.Second {
		t.Errorf("throttled for ever, after %v: %v %s", took, err, out)
	}
	faults.Clear()
	if out, err := asUser(t, me, m, "app", "ls $R/_tags/v2/manifest.json && rm -r $R/_tags/v2"); err != nil {
		t.Errorf("afterwards: %v %s", err, out)
	}
}

// TestIndexesGoFirstAboveTenThousand has rm walk more entries than it goes
// through in the order of the listing: then it goes by inode number. An index of
// indexes has to come before these, and its signature after it.
func TestIndexesGoFirstAboveTenThousand(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("10,001 manifests take too long with the race detector")
	}
	s := newLocalACR(t)
	const many = 10_001
	plantMany(t, s, "app", many)
	index := fixture.Index(ocispec.MediaTypeImageIndex)
	for i := range 8 {
		index = fixture.Index(ocispec.MediaTypeImageIndex, index, fixture.Image("amd64", "", fmt.Sprint(i)))
	}
	push(t, s, "app", "latest", index) // what it holds is live until it goes
	push(t, s, "app", "", fixture.Referrer(index, "application/vnd.example.signature", "sig", "signed"))
	all := many + len(family(index))
	m := mountServer(t, s, "--writable", "--metadata-ttl", "10m")
	if n := len(names(t, m.path("app", "_manifests"))); n != all+1 {
		t.Fatalf("%d manifests, want %d", n, all+1)
	}
	s.gate.forget()
	began := time.Now()
	if out, err := asUser(t, uint32(os.Geteuid()), m, "app", "rm -r $R/_manifests"); err != nil {
		t.Errorf("%v %.2000s", err, out)
	}
	deletions := s.gate.count(isDeletion)
	t.Logf("%d deletions, %d requests in all, %v", deletions, len(s.gate.requests()), time.Since(began))
	if others := len(s.gate.requests()) - deletions; deletions != all || others > all+200 {
		t.Errorf("%d deletions and %d other requests for %d manifests", deletions, others, all)
	}
	if left := (judge{t, sdkClient(t, s)}).repositories(""); len(left) > 0 {
		t.Errorf("repositories %q are left", left)
	}
}

// TestOneThousandDeletions counts what they cost.
func TestOneThousandDeletions(t *testing.T) {
	s := newLocalACR(t)
	const many = 1000
	plantMany(t, s, "app", many)
	push(t, s, "app", "latest", fixture.MultiArch("1"))
	m := mountServer(t, s, "--writable")
	s.gate.forget()
	if out, err := asUser(t, uint32(os.Geteuid()), m, "app",
		`cd $R/_manifests && for d in *; do getfattr -n user.acr.tags $d; done 2>&1 >/dev/null | sed -n 's/^\(sha256:[0-9a-f]*\):.*/\1/p' | xargs rm -r`); err == nil || strings.Count(out, "busy") != 6 {
		t.Errorf("want the six images of an index to be busy: %v %.2000s", err, out)
	}
	deletions := s.gate.count(isDeletion)
	gets := s.gate.count(func(r *record) bool {
		return r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/v2/") && strings.Contains(r.Path, "/manifests/")
	})
	others := len(s.gate.requests()) - deletions - gets
	t.Logf("%d deletions, %d manifests read, %d other requests", deletions, gets, others)
	if deletions != many || gets > many+7 || others > 20 {
		t.Errorf("%d deletions, %d manifests read, %d other requests; want %d, as many, a handful", deletions, gets, others, many)
	}
}

// plantMany pushes untagged manifests that share their blob, several at a time.
func plantMany(t *testing.T, s *server, repo string, many int) {
	t.Helper()
	of := func(i int) *fixture.Manifest {
		return fixture.Build(fixture.Spec{
			ArtifactType: "application/vnd.example.one-of-many",
			Config:       fixture.Part{MediaType: "application/vnd.oci.empty.v1+json", Blob: fixture.Text("{}")},
			Annotations:  map[string]string{"n": fmt.Sprint(i)},
		})
	}
	push(t, s, repo, "", of(0))
	client := sdkClient(t, s)
	var pushes errgroup.Group
	pushes.SetLimit(16)
	for i := range many {
		pushes.Go(func() error {
			m := of(i)
			_, err := client.UploadManifest(t.Context(), repo, m.Digest.String(), acr.ContentType(m.MediaType), readSeekNopCloser{bytes.NewReader(m.Raw)}, nil)
			return err
		})
	}
	if err := pushes.Wait(); err != nil {
		t.Fatal(err)
	}
}
