package integration

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/acrfs/acrfs/integration/fixture"
)

// rootFS is made once: archiving a tree takes a while under a race detector.
var rootFS = sync.OnceValues(func() (*fixture.Manifest, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	return fixture.RootFS(strings.TrimSpace(string(goroot)))
})

// TestRootFileSystemGoesThereAndBack is the main job at its real size: an
// image of a few hundred MiB, backed up, archived and looked into.
func TestRootFileSystemGoesThereAndBack(t *testing.T) {
	if testing.Short() {
		t.Skip("moves a few hundred MiB")
	}
	needTools(t, "rsync", "tar", "zstd")
	image, err := rootFS()
	if err != nil {
		t.Fatal(err)
	}
	onEveryServer(t, func(t *testing.T, s *server) {
		pushWith(t, pushWithGGCR, s, "base/root", "v1", image)
		pushWith(t, pushWithSDK, s, "base/root", "same", image)
		m := mountServer(t, s)
		backup := t.TempDir()
		s.gate.forget()
		rsync(t, m.dir, backup)
		for _, blob := range image.Blobs {
			if got := s.gate.bytesOf(blob.Digest); got > blob.Size+blob.Size/20+4096 {
				t.Errorf("%d bytes were sent of a blob of %d", got, blob.Size)
			}
		}
		checkArtifact(t, filepath.Join(backup, "base/root/_tags/v1"), image)
		checkNothing(t, "the second rsync", rsync(t, m.dir, backup))

		for _, line := range []string{
			`tar -C "$1" -cf - base | tar -C "$2" -xf -`,
			`cp -r "$1/base/root/_tags/v1" "$2/copy"`,
		} {
			shell(t, line, m.dir, backup)
		}
		checkArtifact(t, filepath.Join(backup, "copy"), image)
		checkLayersOpen(t, m.tagDir("base/root", "v1"))
	})
}

// checkLayersOpen reads the archives in place with the tools for them and
// looks for files that must be inside.
func checkLayersOpen(t *testing.T, dir string) {
	t.Helper()
	var contents strings.Builder
	for _, name := range filesBelow(t, dir) {
		if strings.Contains(name, ".tar") {
			contents.WriteString(shell(t, `tar -taf "$1"`, filepath.Join(dir, name)))
		}
	}
	for _, want := range []string{"go/main.go", "http/server.go", "json/decode.go", "proc.go", "gofmt"} {
		if !strings.Contains(contents.String(), want) {
			t.Errorf("no layer has %s", want)
		}
	}
	if err := readZstdLayer(dir); err != nil {
		t.Error(err)
	}
}

// readZstdLayer decompresses the zstd layer through the mount.
func readZstdLayer(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
	if err != nil || len(found) != 1 {
		return errors.Join(err, errors.New("want one zstd layer"))
	}
	file, err := os.Open(found[0])
	if err != nil {
		return err
	}
	defer file.Close()
	stream, err := zstd.NewReader(file)
	if err != nil {
		return err
	}
	defer stream.Close()
	archive := tar.NewReader(stream)
	for {
		if _, err := archive.Next(); err != nil {
			return ignoreEOF(err)
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return err
		}
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// TestLargeBlob reads a blob of 320 MiB in every order that programs do.
func TestLargeBlob(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 320 MiB several times")
	}
	large := fixture.Large(99, 320<<20)
	blob := large.Blobs[1]
	onEveryServer(t, func(t *testing.T, s *server) {
		pushWith(t, pushWithSDK, s, "large", "v1", large)
		m := mountServer(t, s)
		path := m.path("large/_tags/v1/large.bin")
		s.gate.forget()
		checkPieces(t, path, blob)
		if got := s.gate.bytesOf(blob.Digest); got > blob.Size {
			t.Errorf("a few pieces cost %d bytes of %d", got, blob.Size)
		}
		if err := sameContent(path, blobEntry(blob)); err != nil {
			t.Error(err)
		}
		if got := s.gate.bytesOf(blob.Digest); got > blob.Size+blob.Size/20 {
			t.Errorf("%d bytes were sent of a blob of %d", got, blob.Size)
		}
		if err := sameContent(path, blobEntry(blob)); err != nil {
			t.Errorf("once more, from the cache: %v", err)
		}
	})
}

// checkPieces reads here and there, without the end, and compares with the
// blob's own bytes.
func checkPieces(t *testing.T, path string, blob fixture.Blob) {
	t.Helper()
	file := open(t, path)
	want, content := make([]byte, 8<<10), blob.Open()
	position := int64(0)
	for _, offset := range []int64{0, 1 << 20, 5<<20 + 123, 100 << 20, 250<<20 - 1} {
		if _, err := io.CopyN(io.Discard, content, offset-position); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(content, want); err != nil {
			t.Fatal(err)
		}
		position = offset + int64(len(want))
		got := make([]byte, len(want))
		if _, err := file.ReadAt(got, offset); err != nil || string(got) != string(want) {
			t.Errorf("at %d: %v, and the bytes are the blob's: %t", offset, err, string(got) == string(want))
		}
	}
}
