package integration

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// TestWhatWasDeletedStaysGoneWhileListsLag deletes by rm on a registry whose
// lists show what is gone for seconds to come, on a mount that asks for them
// again and again.
func TestWhatWasDeletedStaysGoneWhileListsLag(t *testing.T) {
	needTools(t, "curl")
	s := startLocalACR(t, localacr.Config{Root: t.TempDir(), ListLag: 2 * time.Second})
	first, second := fixture.Chart("1"), fixture.Chart("2")
	push(t, s, "app", "v1", first)
	push(t, s, "app", "v2", second)
	push(t, s, "app", "kept", fixture.Chart("3"))
	token := curlToken(t, s, "repository:app:metadata_read")
	serverLists := func(list, item string) bool {
		_, _, body := curl(t, s, "/acr/v1/app/"+list, "--header", "Authorization: Bearer "+token)
		return strings.Contains(body, `"`+item+`"`)
	}
	waitFor(t, "the lists to show what was pushed", func() bool { return serverLists("_tags", "kept") })
	m := mountServer(t, s, "--writable", "--metadata-ttl", "10ms")

	for _, row := range []struct{ dir, list, item string }{
		{m.tagDir("app", "v1"), "_tags", "v1"},
		{m.manifestDir("app", second.Digest), "_manifests", second.Digest.String()},
	} {
		if got := names(t, m.path("app", row.list)); !slices.Contains(got, row.item) {
			t.Fatalf("%s has no %s: %q", row.list, row.item, got)
		}
		shell(t, `rm -r "$1"`, row.dir)
		late := 0 // lists that the mount got and that still had the item
		waitFor(t, "the list to show the deletion", func() bool {
			s.gate.forget()
			got := names(t, m.path("app", row.list))
			asked := s.gate.count(func(r *record) bool { return strings.HasSuffix(r.Path, "/"+row.list) })
			if slices.Contains(got, row.item) {
				t.Fatalf("%s shows %s again: %q", row.list, row.item, got)
			}
			still := serverLists(row.list, row.item) // and so it did a moment before
			if still {
				late += asked
			}
			return !still
		})
		if late == 0 {
			t.Errorf("the mount never asked for %s while it lagged: this tested nothing", row.list)
		}
	}
	if got := names(t, m.path("app/_tags")); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("tags left: %q", got)
	}
	// A tag that is pushed again is new, and seen when lists have it.
	push(t, s, "app", "v1", first)
	waitFor(t, "the tag that was pushed again", func() bool { return slices.Contains(names(t, m.path("app/_tags")), "v1") })
	checkArtifact(t, m.tagDir("app", "v1"), first)
}

// TestRepositoryThatWasDeletedStaysGoneWhileTheCatalogLags removes one by rm -r,
// and one with its last manifest. A new one of the same name is seen.
func TestRepositoryThatWasDeletedStaysGoneWhileTheCatalogLags(t *testing.T) {
	needTools(t, "curl")
	s := startLocalACR(t, localacr.Config{Root: t.TempDir(), ListLag: 2 * time.Second})
	chart := fixture.Chart("1")
	for _, repo := range []string{"team/one", "team/two", "kept"} {
		push(t, s, repo, "v1", chart)
	}
	token := curlToken(t, s, "registry:catalog:*")
	serverLists := func(repo string) bool {
		_, _, body := curl(t, s, "/acr/v1/_catalog", "--header", "Authorization: Bearer "+token)
		return strings.Contains(body, `"`+repo+`"`)
	}
	waitFor(t, "the catalog to show what was pushed", func() bool { return serverLists("kept") && serverLists("team/two") })
	m := mountServer(t, s, "--writable", "--metadata-ttl", "10ms")
	for _, row := range []struct{ repo, remove, left string }{
		{"team/one", m.path("team/one"), "team/two"},
		{"team/two", m.manifestDir("team/two", chart.Digest), ""},
	} {
		shell(t, `rm -r "$1"`, row.remove)
		late := 0 // catalogs that the mount got and that still had the repository
		waitFor(t, "the catalog to show the deletion", func() bool {
			s.gate.forget()
			got, err := os.ReadDir(m.path("team"))
			asked := s.gate.count(func(r *record) bool { return strings.HasSuffix(r.Path, "/_catalog") })
			for _, e := range got {
				if "team/"+e.Name() != row.left {
					t.Fatalf("%s is there again (%v)", e.Name(), err)
				}
			}
			still := serverLists(row.repo) // and so it did a moment before
			if still {
				late += asked
			}
			return !still
		})
		if late == 0 {
			t.Errorf("the mount never asked for the catalog while it lagged: this tested nothing")
		}
	}
	push(t, s, "team/one", "v1", chart)
	waitFor(t, "the repository that was pushed again", func() bool {
		_, err := os.Stat(m.tagDir("team/one", "v1"))
		return err == nil && slices.Contains(names(t, m.path("team")), "one")
	})
}

// TestFlagsStaySetWhileListsLag locks and unlocks, and deletes at once, while
// lists show the flags of before.
func TestFlagsStaySetWhileListsLag(t *testing.T) {
	needTools(t, "setfattr")
	s := startLocalACR(t, localacr.Config{Root: t.TempDir(), ListLag: 2 * time.Second})
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	push(t, s, "app", "kept", fixture.Chart("2"))
	m := mountServer(t, s, "--writable", "--metadata-ttl", "10ms")
	tag, manifest := m.tagDir("app", "v1"), m.manifestDir("app", chart.Digest)
	look := func() { shell(t, `ls -l "$1"/* >/dev/null`, m.path("app")) }
	waitFor(t, "the lists to show what was pushed", func() bool {
		manifests, err := os.ReadDir(m.path("app/_manifests"))
		return err == nil && len(manifests) == 2
	})
	for _, value := range []string{"false", "true"} {
		shell(t, `setfattr -n user.acr.can_delete -v "$3" "$1" "$2"`, tag, manifest, value)
		for until := time.Now().Add(3 * time.Second); value == "false" && time.Now().Before(until); {
			look()
			for _, path := range []string{tag, manifest} {
				if got := attribute(t, path, "user.acr.can_delete"); got != value {
					t.Fatalf("can_delete of %s is %s after it was set to %s", path, got, value)
				}
				if mode := strings.TrimSpace(must(t, "stat", "-c", "%a", path+"/manifest.json")); mode != "444" {
					t.Fatalf("a locked manifest.json has the mode %s", mode)
				}
			}
		}
	}
	look()
	shell(t, `rm -r "$1"`, manifest) // its tag has just been unlocked, too
	_, err := sdkClient(t, s).GetManifestProperties(t.Context(), "app", chart.Digest.String(), nil)
	checkResponse(t, "the manifest", err, http.StatusNotFound)
}
