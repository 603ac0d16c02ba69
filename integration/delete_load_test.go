package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// loadFor is how long the load test keeps everybody at work.
const loadFor = 20 * time.Second

// allowedUnderLoad are the errors that are due when others delete, lock and
// push the same items. rm says "Is a directory" of one that was gone when it
// looked and is back when it unlinks; rsync has words of its own for what goes
// while it reads. An attribute can go, or grow from "true" to "false", between
// being listed, measured and read, as on any file system.
var allowedUnderLoad = regexp.MustCompile(
	`No such file or directory|Operation not permitted|"user\.acr\.\w+",\d+\) (failed: (No data available|Numerical result out of range)|returned \d+)|Device or resource busy|Directory not empty|` +
		`rm: cannot remove .*: Is a directory|has vanished|failed to re-read xattr|Missing abbreviated xattr value|some files/attrs were not transferred|some files vanished`)

// TestDeletingUnderLoad has eight shells delete and lock overlapping items
// while two read everything and one client pushes the items again.
func TestDeletingUnderLoad(t *testing.T) {
	needTools(t, "setfattr", "rsync", "find")
	s := newLocalACR(t)
	ctx := t.Context()
	images := []*fixture.Manifest{fixture.MultiArch("1"), fixture.ManifestList("2"), fixture.Image("amd64", "", "3"), fixture.Files("a b/c d", "x")}
	images = append(images, fixture.Referrer(images[0], "application/vnd.example.signature", "sig", "1"))
	plant := func(round int) {
		for i, m := range images {
			// A tag or manifest that is locked just now is refused.
			_ = pushWithGGCRRaw(ctx, s, "load/app", fmt.Sprintf("v%d", (i+round)%6), m)
			_ = pushWithGGCRRaw(ctx, s, "load/app/nested", fmt.Sprintf("v%d", i), m)
		}
	}
	plant(0)
	const ttl = time.Second
	m := mountServer(t, s, "--writable", "--metadata-ttl", ttl.String())
	work := []string{
		`for t in v0 v1 v2 v3 v4 v5; do rm -r $R/_tags/$t; done`,
		`for t in v5 v4 v3; do setfattr -n user.acr.can_delete -v false $R/_tags/$t; rm -r $R/_tags/$t; setfattr -n user.acr.can_delete -v true $R/_tags/$t; done`,
		`for d in $(ls $R/_manifests); do rm -r $R/_manifests/$d; done`,
		`for d in $(ls $R/_manifests); do setfattr -n user.acr.can_write -v false $R/_manifests/$d; setfattr -n user.acr.can_write -v true $R/_manifests/$d; done`,
		`find $R/_tags -mindepth 1 -delete`,
		`rm -r $R/nested`,
		`for t in v0 v1 v2; do rm -rf $R/_tags/$t/* && rmdir $R/_tags/$t; done`,
		`rm -r $R/_manifests; setfattr -n user.acr.can_delete -v true $R/_tags/* $R/_manifests/*`,
		`find $M -type f -exec cat {} + >/dev/null; find $M -ls >/dev/null`,
		`rsync -aHX $M/ $C/`,
	}
	until := time.Now().Add(loadFor)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards said
	said := map[string]int{}
	for _, script := range work {
		copied := openDir(t)
		wg.Go(func() {
			for time.Now().Before(until) {
				cmd := exec.CommandContext(ctx, "bash", "-c", script)
				cmd.Env = append(os.Environ(), "LC_ALL=C", "M="+m.dir, "R="+m.path("load/app"), "C="+copied)
				cmd.WaitDelay = time.Second
				ended := time.AfterFunc(time.Minute, func() { t.Errorf("%s: still at it after a minute", script) })
				out, _ := cmd.CombinedOutput()
				ended.Stop()
				mu.Lock()
				for line := range strings.Lines(string(out)) {
					if !allowedUnderLoad.MatchString(line) {
						said[script+": "+strings.TrimSpace(line)]++
					}
				}
				mu.Unlock()
			}
		})
	}
	for round := 1; time.Now().Before(until); round++ {
		plant(round)
	}
	wg.Wait()
	for line, n := range said {
		t.Errorf("%d times: %s", n, line)
	}

	// When all is quiet, the tree is what the registry has.
	plant(0)
	time.Sleep(ttl + 100*time.Millisecond)
	j := judge{t, sdkClient(t, s)}
	for _, repo := range j.repositories("") {
		want := sorted(j.manifests(repo))
		if got := names(t, m.path(repo, "_manifests")); !slices.Equal(sorted(got), want) {
			t.Errorf("%s/_manifests has %d, the registry %d", repo, len(got), len(want))
		}
		for tag, digest := range j.tags(repo) {
			if got := attribute(t, m.tagDir(repo, tag), "user.acr.digest"); got != digest {
				t.Errorf("%s:%s is %s, on the registry %s", repo, tag, got, digest)
			}
			if len(names(t, m.tagDir(repo, tag))) == 0 {
				t.Errorf("%s:%s is empty", repo, tag)
			}
		}
		if got := names(t, m.path(repo, "_tags")); len(got) != len(j.tags(repo)) {
			t.Errorf("%s/_tags has %q, the registry %d", repo, got, len(j.tags(repo)))
		}
	}
}
