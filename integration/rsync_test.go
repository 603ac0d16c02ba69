package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/acrfs/acrfs/integration/fixture"
)

// rsync copies from to to and returns what it changed, a line per path as
// --itemize-changes has it, and nothing for what it left alone.
func rsync(t testing.TB, from, to string, flags ...string) []string {
	t.Helper()
	args := append([]string{"-aH", "--itemize-changes", "--delete"}, flags...)
	changes := []string{}
	for line := range strings.Lines(must(t, "rsync", append(args, from+"/", to+"/")...)) {
		changes = append(changes, strings.TrimRight(line, "\n"))
	}
	return changes
}

// TestSecondRsyncTransfersNothing backs a registry up twice, with and without
// extended attributes, and once more from a fresh mount.
func TestSecondRsyncTransfersNothing(t *testing.T) {
	needTools(t, "rsync")
	onEveryServer(t, func(t *testing.T, s *server) {
		holdings := collection()
		for _, h := range holdings {
			if h.tag != "foreign" {
				pushWith(t, h.with, s, h.repo, h.tag, h.m)
			}
		}
		m := mountServer(t, s)
		plain, withAttributes := t.TempDir(), t.TempDir()
		if changes := rsync(t, m.dir, plain); len(changes) == 0 {
			t.Fatal("the first rsync changed nothing")
		}
		for _, h := range holdings {
			if h.tag != "" && h.tag != "foreign" {
				checkArtifact(t, filepath.Join(plain, h.repo, "_tags", h.tag), h.m)
			}
		}
		rsync(t, m.dir, withAttributes, "-X")
		checkNothing(t, "the second rsync", rsync(t, m.dir, plain))
		checkNothing(t, "the second rsync -X", rsync(t, m.dir, withAttributes, "-X"))
		m.unmount()

		again := mountServer(t, s)
		checkNothing(t, "an rsync from another mount", rsync(t, again.dir, plain))
		checkNothing(t, "an rsync -X from another mount", rsync(t, again.dir, withAttributes, "-X"))
		checkNothing(t, "an rsync that reads everything", rsync(t, again.dir, plain, "--checksum"))
	})
}

func checkNothing(t testing.TB, what string, changes []string) {
	t.Helper()
	if len(changes) > 0 {
		t.Errorf("%s changed:\n%s", what, strings.Join(changes, "\n"))
	}
}

// TestRsyncSeesContentThatChangedUnderTheSameNameAndSize moves a tag to an
// artifact that no tool could tell by names and sizes.
func TestRsyncSeesContentThatChangedUnderTheSameNameAndSize(t *testing.T) {
	needTools(t, "rsync")
	onEveryServer(t, func(t *testing.T, s *server) {
		const ttl = time.Second
		before := fixture.Files("same.txt", "unchanged", "dir/moved.txt", "content A", "other.txt", "number 1")
		after := fixture.Files("same.txt", "unchanged", "dir/moved.txt", "content B", "other.txt", "number 2")
		push(t, s, "app", "latest", before)
		push(t, s, "app", "fixed", before)
		m := mountServer(t, s, "--metadata-ttl", ttl.String())
		backup := t.TempDir()
		rsync(t, m.path("app/_tags"), backup)
		checkNothing(t, "the second rsync", rsync(t, m.path("app/_tags"), backup))

		// A manifest's time is its creation's, and rsync looks at seconds.
		nextSecond()
		push(t, s, "app", "latest", after)
		pushed := time.Now()
		waitFor(t, "the tag to move", func() bool {
			content, err := os.ReadFile(m.path("app/_tags/latest/other.txt"))
			return err == nil && string(content) == "number 2"
		})
		// A second on top is what the kernel may keep a name.
		if took := time.Since(pushed); took > ttl+2*time.Second {
			t.Errorf("the moved tag appeared after %v, want about %v", took, ttl)
		}
		var files []string
		for _, change := range rsync(t, m.path("app/_tags"), backup) {
			if strings.HasPrefix(change, ">f") {
				_, path, _ := strings.Cut(change, " ")
				files = append(files, path)
			}
		}
		want := []string{"latest/manifest.json", "latest/other.txt", "latest/dir/moved.txt"}
		if diff := cmp.Diff(sorted(want), sorted(files)); diff != "" {
			t.Errorf("rsync transferred (-want +got):\n%s", diff)
		}
		checkArtifact(t, filepath.Join(backup, "latest"), after)
		checkArtifact(t, filepath.Join(backup, "fixed"), before)
		checkNothing(t, "the next rsync", rsync(t, m.path("app/_tags"), backup))
	})
}

// TestRsyncDeletesNothingWhenAListingFails backs up while the registry answers
// badly for what it lists: with an error, or that it knows nothing of it. To
// programs the latter is an empty directory, if they are told so.
func TestRsyncDeletesNothingWhenAListingFails(t *testing.T) {
	needTools(t, "rsync")
	ofManifests := both(about("/app/manifests/sha256:"), isGet)
	for _, row := range []struct {
		name    string
		strikes match
		do      misdeed
	}{
		{"tags refused", listing("tags"), answer(400, "BROKEN")},
		{"tags missing", listing("tags"), answer(404, "NAME_UNKNOWN")},
		{"manifests missing", listing("manifests"), answer(404, "NAME_UNKNOWN")},
		{"catalog missing", listing("catalog"), answer(404, "NAME_UNKNOWN")},
		{"an artifact missing", ofManifests, answer(404, "MANIFEST_UNKNOWN")},
		{"no registry there", always, noSuchPage},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEveryServer(t, func(t *testing.T, s *server) {
				if s.name == "distribution" && strings.HasSuffix(row.name, "s missing") {
					t.Skip("it has no list of manifests, and 404 is its list of no tags")
				}
				for _, tag := range []string{"v1", "v2", "v3"} {
					push(t, s, "app", tag, fixture.Files("file", tag))
				}
				backup := t.TempDir()
				m := mountServer(t, s)
				rsync(t, m.dir, backup)
				m.unmount()
				before := filesBelow(t, backup)

				m = mountServer(t, s)
				s.gate.add(row.strikes, row.do)
				if r := run(t, "rsync", "-aH", "--delete", m.dir+"/", backup+"/"); r.code == 0 {
					t.Errorf("rsync of a broken listing succeeded: %s", r)
				}
				if diff := cmp.Diff(before, filesBelow(t, backup)); diff != "" {
					t.Errorf("the backup after a broken listing (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// noSuchPage is what a web server or load balancer answers whose registry is away.
func noSuchPage(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	http.Error(w, "default backend - 404", http.StatusNotFound)
}

// TestRsyncSeesWhatIsGone: what the registry no longer lists leaves the backup.
func TestRsyncSeesWhatIsGone(t *testing.T) {
	needTools(t, "rsync")
	onEveryServer(t, func(t *testing.T, s *server) {
		kept, gone := fixture.Files("file", "kept"), fixture.Files("file", "gone")
		push(t, s, "app", "v1", kept)
		push(t, s, "app", "v2", gone)
		backup := t.TempDir()
		m := mountServer(t, s, "--metadata-ttl=1h")
		rsync(t, m.dir, backup)
		m.unmount()

		// Between its being listed and its being read.
		m = mountServer(t, s, "--metadata-ttl=1h")
		names(t, m.path("app/_tags"))
		names(t, m.path("app/_manifests"))
		deleteManifest(t, s, "app", gone)
		if r := run(t, "rsync", "-aH", "--delete", m.dir+"/", backup+"/"); r.code != 0 && r.code != rsyncVanished {
			t.Errorf("rsync beside a deletion: %s", r)
		}
		checkArtifact(t, filepath.Join(backup, "app/_tags/v1"), kept)
		if left := filesBelow(t, filepath.Join(backup, "app/_tags/v2")); len(left) > 0 {
			t.Errorf("of what is gone the backup still has %q", left)
		}
	})
}

func deleteManifest(t testing.TB, s *server, repo string, m *fixture.Manifest) {
	t.Helper()
	ref, err := ggcrReference(s, repo, "", m)
	if err == nil {
		err = remote.Delete(ref)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rsyncVanished is rsync's exit status when files vanished while it looked.
const rsyncVanished = 24

// TestRsyncDeletesNothingOfWhatIsNeverListed, and known by name alone: that no list
// has it tells nothing.
func TestRsyncDeletesNothingOfWhatIsNeverListed(t *testing.T) {
	needTools(t, "rsync")
	for name, row := range map[string]struct {
		open func(testing.TB) *server
		dir  func(m *mount, pushed *fixture.Manifest) string
		hit  match
		do   misdeed
	}{
		"untagged": {
			newDistribution, func(m *mount, pushed *fixture.Manifest) string { return m.manifestDir("app", pushed.Digest) },
			both(about("/app/manifests/"), isGet), answer(404, "MANIFEST_UNKNOWN"),
		},
		"hidden": {newLocalACR, func(m *mount, _ *fixture.Manifest) string { return m.path("app") }, listing("tags"), noSuchPage},
	} {
		t.Run(name, func(t *testing.T) {
			s := row.open(t)
			pushed := fixture.Files("file", "kept")
			push(t, s, "app", "", pushed)
			push(t, s, "other", "v1", fixture.Files("file", "other"))
			if name == "hidden" {
				push(t, s, "app", "v1", pushed)
				m := mountServer(t, s, "--writable")
				must(t, "setfattr", "-n", "user.acr.can_list", "-v", "false", m.path("app"))
				m.unmount()
			}
			backup := t.TempDir()
			m := mountServer(t, s)
			rsync(t, row.dir(m, pushed), backup)
			m.unmount()
			before := filesBelow(t, backup)

			m = mountServer(t, s)
			s.gate.add(row.hit, row.do)
			if r := run(t, "rsync", "-aH", "--delete", row.dir(m, pushed)+"/", backup+"/"); r.code == 0 {
				t.Errorf("rsync succeeded: %s", r)
			}
			if diff := cmp.Diff(before, filesBelow(t, backup)); diff != "" {
				t.Errorf("the backup (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMissingItemsCostOneListing, not one each: a list may lag behind a thousand
// deletions.
func TestMissingItemsCostOneListing(t *testing.T) {
	const items = 20
	onEveryServer(t, func(t *testing.T, s *server) {
		for i := range items {
			push(t, s, "app", fmt.Sprintf("v%d", i), fixture.Files("file", fmt.Sprint(i)))
		}
		m := mountServer(t, s, "--metadata-ttl=1h")
		names(t, m.path("app/_manifests"))
		time.Sleep(time.Second) // so that the list is from before
		s.gate.add(both(about("/v2/app/manifests/sha256:"), isGet), answer(404, "MANIFEST_UNKNOWN"))
		s.gate.forget()
		if r := run(t, "find", m.path("app/_manifests")); r.code == 0 {
			t.Error("what is listed and missing is no error")
		}
		if n := s.gate.count(func(r *record) bool { return isListing(r.Path, "manifests") || isListing(r.Path, "tags") }); n > 2 {
			t.Errorf("%d missing manifests cost %d lists:\n%s", items, n, s.gate.describe())
		}
	})
}

// TestSparseIndexIsNoError: an index may point to what was never pushed, or is
// gone. A registry that cannot list manifests shows it all the same, without
// anything in it.
func TestSparseIndexIsNoError(t *testing.T) {
	needTools(t, "rsync")
	for _, code := range []string{"MANIFEST_UNKNOWN", "NOT_FOUND"} { // the specification's, and Harbor's
		t.Run(code, func(t *testing.T) { checkSparseIndex(t, code) })
	}
}

func checkSparseIndex(t *testing.T, code string) {
	s := newDistribution(t)
	index := fixture.ManifestList("sparse")
	push(t, s, "app", "v1", index)
	s.gate.add(about("/app/manifests/"+index.Children[0].Digest.String()), answer(404, code))
	m := mountServer(t, s)
	backup := t.TempDir()
	rsync(t, m.dir, backup)
	if got := filesBelow(t, filepath.Join(backup, "app/_manifests", index.Children[0].Digest.String())); len(got) > 0 {
		t.Errorf("of a child that is missing there are %q", got)
	}
	checkArtifact(t, filepath.Join(backup, "app/_manifests", index.Children[1].Digest.String()), index.Children[1])
	if r := run(t, "ls", m.path("app/_tags/v1/manifests", platformName(index.Children[0].Platform))+"/"); r.code != 0 {
		t.Errorf("ls of it: %s", r)
	}
}
