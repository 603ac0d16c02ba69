package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestToolsRunQuietly runs the tools that people use over a whole registry.
// None of them may say a word on stderr.
func TestToolsRunQuietly(t *testing.T) {
	needTools(t, "find", "du", "tar", "jq", "getfattr", "stat")
	onEveryServer(t, func(t *testing.T, s *server) {
		for _, h := range collection() {
			if h.tag != "foreign" { // what the registry lacks is ENOENT to who reads it
				pushWith(t, h.with, s, h.repo, h.tag, h.m)
			}
		}
		m := mountServer(t, s)
		s.gate.forget()
		for _, line := range []string{
			`ls -laR "$1"`,
			`find "$1" -ls`,
			`du -sh "$1"`,
			`stat "$1"/library/hello-world/_tags/*`,
			`getfattr -R -d -m - --absolute-names "$1"`,
			`df "$1" "$1/library/hello-world/_tags/v1/manifest.json"`,
		} {
			if out := shell(t, line, m.dir); out == "" {
				t.Errorf("%s says nothing", line)
			}
		}
		if n := s.gate.count(isContent); n > 0 {
			t.Errorf("looking at the tree downloaded %d layers:\n%s", n, s.gate.describe())
		}
		for _, line := range []string{
			`find "$1" -name manifest.json -exec jq -e .schemaVersion {} + >/dev/null`,
			`grep -rqs "the library" "$1/library/_tags"`,
			`tar -cf /dev/null -C "$1" .`,
			`md5sum "$1"/odd/_tags/sizes/* >/dev/null`,
		} {
			shell(t, line, m.dir)
		}
		repositories := shell(t, `cd "$1" && find . -name '_*' -prune -name _tags -printf '%h\n' | sort`, m.dir)
		if want := "./charts/demo\n./library\n./library/hello-world\n./library/hello-world/docs\n./odd\n"; repositories != want {
			t.Errorf("find lists the repositories %q, want %q", repositories, want)
		}
	})
}

// isContent tells whether a request fetched a blob's bytes.
func isContent(r *record) bool {
	status := r.Status.Load()
	return r.Method == "GET" && strings.Contains(r.Path, "/blobs/") && (status == 200 || status == 206)
}

// TestTarThereAndBack archives a repository and unpacks it, with links.
func TestTarThereAndBack(t *testing.T) {
	needTools(t, "tar")
	onEveryServer(t, func(t *testing.T, s *server) {
		index := fixture.MultiArch("1")
		push(t, s, "app", "v1", index)
		push(t, s, "app", "same", index)
		m := mountServer(t, s)
		copied := t.TempDir()
		shell(t, `tar -C "$1" -cf - app | tar -C "$2" -xf -`, m.dir, copied)
		for _, tag := range []string{"v1", "same"} {
			checkArtifact(t, filepath.Join(copied, "app/_tags", tag), index)
		}
		for _, child := range index.Children {
			checkArtifact(t, filepath.Join(copied, "app/_manifests", child.Digest.String()), child)
		}
		checkSharedOnce(t, copied, index.Children[0])
	})
}

// checkSharedOnce makes sure that a copy keeps the base layer, which all the
// children share, as one file.
func checkSharedOnce(t *testing.T, root string, child *fixture.Manifest) {
	t.Helper()
	base := child.Blobs[1]
	found := strings.Fields(shell(t, `find "$1" -name "$2*" -printf '%i\n'`, root, base.Digest.Encoded()))
	if len(found) < 2 {
		t.Fatalf("found the base layer %d times, want it under several children", len(found))
	}
	for _, ino := range found {
		if ino != found[0] {
			t.Errorf("the base layer was copied more than once: inodes %v", found)
		}
	}
}

// TestDuCountsSharedLayersOnce compares du's sum with the sizes of distinct
// blobs.
func TestDuCountsSharedLayersOnce(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		layer := fixture.Noise(1, 5<<20)
		for i := range 4 {
			unique := fixture.Text(fmt.Sprintf("tag %d", i))
			push(t, s, fmt.Sprintf("shared/app%d", i%2), fmt.Sprintf("v%d", i), fixture.Build(fixture.Spec{
				Config: fixture.Part{MediaType: "application/vnd.example+json", Blob: unique},
				Layers: []fixture.Part{fixture.Titled("layer.bin", layer)},
			}))
		}
		m := mountServer(t, s)
		for _, flags := range []string{"-s", "-s --apparent-size"} {
			out := shell(t, `du --block-size=1 `+flags+` "$1"`, m.dir)
			sum, err := strconv.ParseInt(strings.Fields(out)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			// Directories and manifests take a little; another copy of the
			// layer would not be a little.
			if sum < layer.Size || sum > layer.Size+layer.Size/5 {
				t.Errorf("du %s says %d, want a little over %d", flags, sum, layer.Size)
			}
		}
	})
}

// TestSameBlobIsOneInode compares what stat says about one blob under all its
// names.
func TestSameBlobIsOneInode(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		image := fixture.Image("amd64", "", "1")
		push(t, s, "a", "v1", image)
		push(t, s, "a", "v2", fixture.Image("amd64", "", "2"))
		push(t, s, "b/c", "v1", image)
		m := mountServer(t, s)
		base := image.Blobs[1].Digest
		name := base.Encoded() + ".tar.gz"
		paths := []string{
			m.path("a/_tags/v1", name), m.path("a/_tags/v2", name), m.path("b/c/_tags/v1", name),
			m.path("a/_manifests", image.Digest.String(), name), m.path("a/_blobs", base.String()),
		}
		first := inode(t, paths[0])
		if first.Nlink < 2 {
			t.Errorf("link count %d, want at least 2", first.Nlink)
		}
		if blocks := (first.Size + 511) / 512; first.Blocks < blocks {
			t.Errorf("%d blocks of 512 bytes for %d bytes", first.Blocks, first.Size)
		}
		for _, path := range paths[1:] {
			got := inode(t, path)
			if got.Ino != first.Ino || got.Size != first.Size || got.Mtim != first.Mtim || got.Mode != first.Mode || got.Uid != first.Uid || got.Nlink != first.Nlink {
				t.Errorf("%s: %+v\n%s: %+v", path, got, paths[0], first)
			}
		}
		inodes := map[uint64]string{}
		for _, dir := range []string{m.tagDir("a", "v1"), m.tagDir("b/c", "v1"), m.manifestDir("a", image.Digest), m.path("a"), m.path("b")} {
			number := inode(t, dir).Ino
			if other := inodes[number]; other != "" {
				t.Errorf("%s and %s have one inode number", other, dir)
			}
			inodes[number] = dir
		}
	})
}

// TestInodesAreStableAcrossMounts remounts and compares numbers and times.
func TestInodesAreStableAcrossMounts(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *server) {
		push(t, s, "app/sub", "v1", fixture.MultiArch("1"))
		push(t, s, "app", "files", fixture.Files("a/b.txt", "b", "c.txt", "c"))
		list := func() string {
			m := mountServer(t, s)
			defer m.unmount()
			return shell(t, `cd "$1" && find . -printf '%p %y %i %n %s %T@ %C@ %m %l\n' | sort`, m.dir)
		}
		first := list()
		if second := list(); first != second {
			t.Errorf("the first mount:\n%s\nthe second:\n%s", first, second)
		}
	})
}

// TestModesAndOwner looks at what keeps copies deletable and the mount
// unchanged.
func TestModesAndOwner(t *testing.T) {
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.MultiArch("1"))
	m := mountServer(t, s, "--uid", "1234", "--gid", "4321")
	shell(t, `test -z "$(find "$1" -type d ! -perm 0755 -o -type f ! -perm 0644)"`, m.dir)
	shell(t, `test -z "$(find "$1" ! -uid 1234 -o ! -gid 4321)"`, m.dir)
	if info, err := os.Stat(m.path("app")); err != nil || info.ModTime().Unix() != 0 {
		t.Errorf("the repository's time is %v, %v; want the epoch", info.ModTime(), err)
	}
}

// TestOrdinaryUserCanDeleteCopies copies as user nobody, who must be able to
// get rid of the copies again.
func TestOrdinaryUserCanDeleteCopies(t *testing.T) {
	needRoot(t)
	needTools(t, "setpriv", "rsync")
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.MultiArch("1"))
	push(t, s, "app", "files", fixture.Titles())
	m := mountServer(t, s, "--allow-other")
	target := openDir(t)
	const nobody = 65534
	if err := os.Chown(target, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`cp -r "$1/app" "$2/plain"`,
		`cp -a --no-preserve=ownership "$1/app" "$2/archive"`,
		`rsync -a "$1/app/" "$2/rsynced"`,
		`tar -C "$1" -cf - app | (mkdir "$2/tarred" && tar -C "$2/tarred" -xf -)`,
	} {
		shell(t, `setpriv --reuid=65534 --regid=65534 --clear-groups sh -ec "$3" sh "$1" "$2"`, m.dir, target, line)
	}
	checkArtifact(t, filepath.Join(target, "plain/_tags/files"), fixture.Titles())
	shell(t, `setpriv --reuid=65534 --regid=65534 --clear-groups rm -r "$1"/plain "$1"/archive "$1"/rsynced "$1"/tarred`, target)

	r := run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "rm", "-rf", m.path("app/_tags/v1"))
	if r.code == 0 {
		t.Error("user nobody removed root's tag")
	}
	if _, err := os.Stat(m.tagDir("app", "v1")); err != nil {
		t.Error(err)
	}
}

// TestStrangersSeeNothingWithoutAllowOther is FUSE's own promise.
func TestStrangersSeeNothingWithoutAllowOther(t *testing.T) {
	needRoot(t)
	needTools(t, "setpriv")
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	m := mountServer(t, s)
	if r := run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", m.dir); r.code == 0 {
		t.Errorf("user nobody listed root's private mount: %s", r)
	}
	if _, err := os.ReadDir(m.dir); err != nil {
		t.Errorf("and its owner: %v", err)
	}
}
