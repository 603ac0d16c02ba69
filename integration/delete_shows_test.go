package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestWhatSomeoneElseDeletedIsNotFound, and is seen to be gone from then on.
func TestWhatSomeoneElseDeletedIsNotFound(t *testing.T) {
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	push(t, s, "app", "v2", fixture.Chart("2"))
	push(t, s, "app", "v3", fixture.Chart("3"))
	m := mountServer(t, s, "--writable", "--metadata-ttl", "1h")
	shell(t, `ls -lR "$1" >/dev/null`, m.dir)
	client := sdkClient(t, s)
	if _, err := client.DeleteTag(t.Context(), "app", "v2", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteManifest(t.Context(), "app", chart.Digest.String(), nil); err != nil {
		t.Fatal(err)
	}
	nextSecond() // an answer about a tag is trusted for as long
	nextSecond()
	for _, row := range []struct{ dir, item string }{
		{m.tagDir("app", "v2"), "v2"}, {m.manifestDir("app", chart.Digest), chart.Digest.String()},
	} {
		if r := run(t, "rm", "-r", row.dir); r.code == 0 || !strings.Contains(r.stderr, "No such file") {
			t.Errorf("rm -r of %s: %s", row.item, r)
		}
		if got := names(t, filepath.Dir(row.dir)); slices.Contains(got, row.item) {
			t.Errorf("%s is shown after that", row.item)
		}
	}
}

// TestDeletionShowsInEveryPlace has listings believed for an hour.
func TestDeletionShowsInEveryPlace(t *testing.T) {
	s := newLocalACR(t)
	chart, other := fixture.Chart("1"), fixture.Chart("2")
	push(t, s, "app", "v1", chart)
	push(t, s, "app", "also", chart)
	push(t, s, "app", "other", other)
	push(t, s, "app", "third", fixture.Chart("3"))
	m := mountServer(t, s, "--writable", "--metadata-ttl", "1h")
	shell(t, `ls -lR "$1" >/dev/null; getfattr --absolute-names -R -d -m - "$1" >/dev/null`, m.dir)
	check := func(tags, manifests int, aliases string) {
		t.Helper()
		repo := m.path("app")
		if got := attribute(t, repo, "user.acr.tag_count") + " " + attribute(t, repo, "user.acr.manifest_count"); got != fmt.Sprintf("%d %d", tags, manifests) {
			t.Errorf("tags and manifests are %s, want %d %d", got, tags, manifests)
		}
		if got := attribute(t, m.manifestDir("app", chart.Digest), "user.acr.tags"); got != aliases {
			t.Errorf("the manifest has the tags %q, want %q", got, aliases)
		}
		entries, err := os.ReadDir(m.path("app/_tags"))
		if err != nil || len(entries) != tags {
			t.Errorf("_tags has %v (%v), want %d", entries, err, tags)
		}
		if entries, err = os.ReadDir(m.path("app/_manifests")); err != nil || len(entries) != manifests {
			t.Errorf("_manifests has %d (%v), want %d", len(entries), err, manifests)
		}
	}
	check(4, 3, "also v1")
	shell(t, `rm -r "$1"`, m.tagDir("app", "v1"))
	check(3, 3, "also")
	shell(t, `rm -r "$1"`, m.manifestDir("app", other.Digest))
	check(2, 2, "also")
	shell(t, `setfattr -n user.acr.can_delete -v false "$1"`, m.manifestDir("app", chart.Digest))
	if mode := must(t, "stat", "-c", "%a", m.manifestDir("app", chart.Digest)+"/manifest.json"); strings.TrimSpace(mode) != "444" {
		t.Errorf("a locked manifest has the mode %s", mode)
	}
	if mode := must(t, "stat", "-c", "%a", m.tagDir("app", "also")+"/manifest.json"); strings.TrimSpace(mode) != "644" {
		t.Errorf("a tag, which is not locked, has the mode %s", mode)
	}
}
