package integration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/integration/fixture"
)

// checkArtifact compares an artifact's directory with what the manifest
// promises: names, sizes before anything is read, symlinks, and every byte.
func checkArtifact(t testing.TB, dir string, m *fixture.Manifest) {
	t.Helper()
	want := expect(t, m)
	checkNames(t, dir, want)
	for name, e := range want {
		checkEntry(t, filepath.Join(dir, filepath.FromSlash(name)), e)
	}
}

// checkNames compares the paths below dir with what is expected there.
func checkNames(t testing.TB, dir string, want expectation) {
	t.Helper()
	wantNames := []string{}
	for name := range want {
		wantNames = append(wantNames, name)
	}
	slices.Sort(wantNames)
	if diff := cmp.Diff(wantNames, filesBelow(t, dir)); diff != "" {
		t.Errorf("names below %s (-want +got):\n%s", dir, diff)
	}
}

// filesBelow is the sorted paths of all that is no directory below dir.
func filesBelow(t testing.TB, dir string) []string {
	t.Helper()
	names := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Errorf("walk %s: %v", dir, err)
	}
	slices.Sort(names)
	return names
}

func checkEntry(t testing.TB, path string, want entry) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	if want.Target != "" {
		if target, err := os.Readlink(path); err != nil || target != want.Target {
			t.Errorf("readlink %s = %q, %v; want %q", path, target, err, want.Target)
		}
		if target, err := os.Stat(path); err != nil || !target.IsDir() {
			t.Errorf("%s leads nowhere: %v", path, err)
		}
		return
	}
	if info.Size() != want.Size {
		t.Errorf("%s: size %d before reading, want %d", path, info.Size(), want.Size)
	}
	if want.open == nil {
		if _, err := os.ReadFile(path); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("read %s, which the registry lacks: %v, want ENOENT", path, err)
		}
		return
	}
	if err := sameContent(path, want); err != nil {
		t.Error(err)
	}
}

// sameContent reads a file to its end and compares it with what was pushed.
func sameContent(path string, want entry) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, file, make([]byte, 1<<20))
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if got := digest.NewDigest(digest.SHA256, sum); n != want.Size || got != want.Digest {
		return fmt.Errorf("%s: got %d bytes with %s, want %d with %s", path, n, got, want.Size, want.Digest)
	}
	return nil
}

// blobEntry is the entry of a file that holds a blob.
func blobEntry(b fixture.Blob) entry { return entry{Digest: b.Digest, Size: b.Size, open: b.Open} }

// names is the sorted names in a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// checkErrno tells whether err is the errno that the contract promises.
func checkErrno(t testing.TB, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// inode is a file's number and link count.
func inode(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

// repositoryDir is the path of a repository's directory.
func (m *mount) repositoryDir(repo string) string {
	return m.path(strings.Split(repo, "/")...)
}

// tagDir and manifestDir are the paths of an artifact's directories.
func (m *mount) tagDir(repo, tag string) string {
	return filepath.Join(m.repositoryDir(repo), "_tags", tag)
}

func (m *mount) manifestDir(repo string, d digest.Digest) string {
	return filepath.Join(m.repositoryDir(repo), "_manifests", d.String())
}
