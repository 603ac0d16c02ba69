package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/acrfs/acrfs/integration/fixture"
)

// pushTags points many tags at one artifact.
func pushTags(t testing.TB, s *server, repo string, n int, m *fixture.Manifest) {
	t.Helper()
	push(t, s, repo, tagName(0), m)
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	ref, err := ggcrReference(s, repo, tagName(0), m)
	if err != nil {
		t.Fatal(err)
	}
	pusher, err := remote.NewPusher(remote.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(16)
	for i := 1; i < n; i++ {
		group.Go(func() error { return pusher.Push(ctx, ref.Context().Tag(tagName(i)), ggcrRaw{m}) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func tagName(i int) string { return fmt.Sprintf("build-%06d", i) }

// TestTenThousandTagsCostTenPages lists a large repository with ls -l.
func TestTenThousandTagsCostTenPages(t *testing.T) {
	if testing.Short() {
		t.Skip("pushes 10,000 tags")
	}
	const tags = 10_000
	s := newLocalACR(t)
	pushTags(t, s, "many", tags, fixture.Chart("1"))
	m := mountServer(t, s, "--metadata-ttl", "10m")
	s.gate.forget()
	out := shell(t, `ls -l "$1"`, m.path("many/_tags"))
	if lines := strings.Count(out, "\n"); lines != tags+1 {
		t.Errorf("ls -l printed %d lines, want %d and the total", lines, tags)
	}
	pages := s.gate.count(func(r *record) bool { return isListing(r.Path, "tags") })
	if pages > 11 {
		t.Errorf("the listing took %d pages, want about 10", pages)
	}
	// Beside the pages: tokens, the catalog, whether it is ACR.
	if all := len(s.gate.requests()); all > pages+8 {
		t.Errorf("ls -l of %d tags cost %d requests:\n%s", tags, all, s.gate.describe())
	}
	s.gate.forget()
	shell(t, `ls -l "$1" | wc -l`, m.path("many/_tags"))
	shell(t, `find "$1" -maxdepth 1 -newer / | wc -l`, m.path("many/_tags"))
	shell(t, `getfattr --absolute-names -d -m - "$1"/build-00000*`, m.path("many/_tags"))
	if n := len(s.gate.requests()); n > 0 {
		t.Errorf("a second look within the TTL cost %d requests:\n%s", n, s.gate.describe())
	}
}

// TestCatalogOfSmallPages: distribution refuses to give more names at once than it
// is configured to.
func TestCatalogOfSmallPages(t *testing.T) {
	s := listen(t, "distribution")
	s.serve(openDistribution(t, nil, func(c *configuration.Configuration) { c.Catalog.MaxEntries = 3 }))
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("app%d", i))
		push(t, s, want[i], "v1", fixture.Chart("1"))
	}
	entries, err := os.ReadDir(mountServer(t, s).dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// TestListingThatBreaksOffIsAnError fails the second page of each listing.
func TestListingThatBreaksOffIsAnError(t *testing.T) {
	const tags = 1100 // a page and a bit
	s := newLocalACR(t)
	pushTags(t, s, "many", tags, fixture.Chart("1"))
	m := mountServer(t, s)
	lift := s.gate.add(both(listing("tags"), secondPage), answer(http.StatusInternalServerError, "UNKNOWN"))
	entries, err := os.ReadDir(m.path("many/_tags"))
	if err == nil {
		t.Errorf("a listing that broke off ended early with %d of %d tags", len(entries), tags)
	}
	if r := run(t, "ls", m.path("many/_tags")); r.code == 0 {
		t.Errorf("ls of a listing that broke off: %d lines and success", strings.Count(r.stdout, "\n"))
	}
	lift()
	waitFor(t, "the whole listing", func() bool {
		entries, err := os.ReadDir(m.path("many/_tags"))
		return err == nil && len(entries) == tags
	})
}

func secondPage(r *http.Request) bool { return r.URL.Query().Get("last") != "" }

// TestPushesDuringFindAreNoErrors pushes, moves and deletes tags while others
// walk the tree.
func TestPushesDuringFindAreNoErrors(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		const ttl = time.Second
		for i := range 4 {
			pushVersion(t, s, fmt.Sprintf("team/app%d", i), "v")
		}
		m := mountServer(t, s, "--metadata-ttl", ttl.String())

		const images = 24
		var pushed []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range images {
				version := fmt.Sprintf("v%d", i)
				pushed = append(pushed, pushVersion(t, s, fmt.Sprintf("team/app%d", i%4), version))
			}
		}()
		rounds := 0
		for walking := true; walking || rounds < 4; rounds++ {
			select {
			case <-done:
				walking = false
			default:
			}
			for _, line := range []string{`find "$1" -ls >/dev/null`, `find "$1" -type f -exec cat {} + >/dev/null`} {
				if r := run(t, "sh", "-ec", line, "sh", m.dir); r.code != 0 || r.stderr != "" {
					t.Errorf("%s while pushes go on: %s", line, r)
				}
			}
		}
		<-done
		time.Sleep(ttl + time.Second) // and what the kernel may keep a name
		for _, tag := range pushed {
			want := "content of " + filepath.Base(tag)
			if content, err := os.ReadFile(m.path(tag, "file.txt")); err != nil || string(content) != want {
				t.Errorf("%s: %q, %v", tag, content, err)
			}
		}
		for i := range 4 {
			last := fmt.Sprintf("content of v%d", images-4+i)
			content, err := os.ReadFile(m.path(fmt.Sprintf("team/app%d/_tags/latest/file.txt", i)))
			if err != nil || string(content) != last {
				t.Errorf("latest of app%d is stale past the TTL: %q, %v; want %q", i, content, err, last)
			}
		}
	})
}

// pushVersion pushes an artifact of its own under a version and as latest, and
// returns the version's path in a mount. All have the same names in them: cat
// is right to complain about one that find saw and that is gone since.
func pushVersion(t testing.TB, s *server, repo, version string) string {
	artifact := fixture.Build(fixture.Spec{
		Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: fixture.Text(version)},
		Layers: []fixture.Part{fixture.Titled("file.txt", fixture.Text("content of "+version))},
	})
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	for _, tag := range []string{version, "latest"} {
		if err := pushWithGGCRRaw(ctx, s, repo, tag, artifact); err != nil {
			t.Errorf("push: %v", err)
		}
	}
	return repo + "/_tags/" + version
}

// TestNewAndDeletedTagsAreSeenWithinTheTTL pushes and deletes and looks.
func TestNewAndDeletedTagsAreSeenWithinTheTTL(t *testing.T) {
	t.Parallel() // waits more than it works
	s := newLocalACR(t)
	const ttl = time.Second
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s, "--metadata-ttl", ttl.String())
	if _, err := os.Stat(m.tagDir("app", "v2")); err == nil {
		t.Fatal("v2 is there before it was pushed")
	}
	names(t, m.path("app/_tags"))

	push(t, s, "app", "v2", fixture.Chart("2"))
	push(t, s, "new/nested/repo", "v1", fixture.Chart("3"))
	time.Sleep(ttl + time.Second)
	if got := names(t, m.path("app/_tags")); !slices.Equal(got, []string{"v1", "v2"}) {
		t.Errorf("tags after a push and the TTL: %q", got)
	}
	checkArtifact(t, m.tagDir("app", "v2"), fixture.Chart("2"))
	checkArtifact(t, m.tagDir("new/nested/repo", "v1"), fixture.Chart("3"))

	deleteTag(t, s, "app", "v2")
	time.Sleep(ttl + time.Second)
	if got := names(t, m.path("app/_tags")); !slices.Equal(got, []string{"v1"}) {
		t.Errorf("tags after a deletion and the TTL: %q", got)
	}
	if _, err := os.Stat(m.tagDir("app", "v2")); err == nil {
		t.Error("v2 is still there after it was deleted")
	}
}

// deleteTag deletes a tag on ACR, with the official client.
func deleteTag(t testing.TB, s *server, repo, tag string) {
	t.Helper()
	if _, err := sdkClient(t, s).DeleteTag(t.Context(), repo, tag, nil); err != nil {
		t.Fatal(err)
	}
}

// TestRefreshForgetsListingsAtOnce is acrfs refresh.
func TestRefreshForgetsListingsAtOnce(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		push(t, s, "app", "v1", fixture.Chart("1"))
		m := mountServer(t, s, "--metadata-ttl", "1h")
		names(t, m.path(""))
		names(t, m.path("app/_tags"))
		push(t, s, "app", "v2", fixture.Chart("2"))
		push(t, s, "new", "v1", fixture.Chart("3"))
		if got := names(t, m.path("app/_tags")); !slices.Equal(got, []string{"v1"}) {
			t.Errorf("tags within the TTL: %q, want what was there", got)
		}
		if r := run(t, acrfs(t), "refresh", m.dir); r.code != 0 {
			t.Fatalf("acrfs refresh: %s", r)
		}
		waitFor(t, "what was pushed", func() bool { // the kernel may keep names for a second
			return slices.Equal(names(t, m.path("app/_tags")), []string{"v1", "v2"}) &&
				slices.Equal(names(t, m.path("")), []string{"app", "new"})
		})
		checkArtifact(t, m.tagDir("new", "v1"), fixture.Chart("3"))
	})
}
