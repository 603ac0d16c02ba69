package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// TestRsyncDeletesNothingWhenAListingFails backs up while the registry's
// answers break off.
func TestRsyncDeletesNothingWhenAListingFails(t *testing.T) {
	needTools(t, "rsync")
	onEveryServer(t, func(t *testing.T, s *server) {
		for _, tag := range []string{"v1", "v2", "v3"} {
			push(t, s, "app", tag, fixture.Files("file", tag))
		}
		backup := t.TempDir()
		m := mountServer(t, s)
		rsync(t, m.path("app/_tags"), backup)
		m.unmount()

		s.gate.add(listing("tags"), answer(400, "BROKEN"))
		m = mountServer(t, s)
		if r := run(t, "rsync", "-aH", "--delete", m.path("app/_tags")+"/", backup+"/"); r.code == 0 {
			t.Errorf("rsync of a broken listing succeeded: %s", r)
		}
		if diff := cmp.Diff([]string{"v1", "v2", "v3"}, names(t, backup)); diff != "" {
			t.Errorf("the backup after a broken listing (-want +got):\n%s", diff)
		}
	})
}
