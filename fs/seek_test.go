package fs

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/registry"
)

// readPieces reads a directory with a buffer of this size, smaller than what the
// kernel asks for at once, and looks at one entry of so many before it reads on:
// the kernel then wants attributes with the next ones.
func readPieces(t *testing.T, dir string, size, every int) (names []string) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for buf, seen := make([]byte, size), 0; ; {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return names
		}
		for left := buf[:n]; len(left) > 0; {
			length := binary.NativeEndian.Uint16(left[16:])
			name := unix.ByteSliceToString(left[19:length])
			left = left[length:]
			if seen++; seen%every == 0 {
				os.Lstat(filepath.Join(dir, name))
			}
			if name != "." && name != ".." {
				names = append(names, name)
			}
		}
	}
}

// TestDirectoryReadInSmallPiecesIsWhole: every entry is listed, once, and each
// name has its own content.
func TestDirectoryReadInSmallPiecesIsWhole(t *testing.T) {
	const repo, files = "models/tiny", 400
	for _, writable := range []*Writable{nil, {}} {
		w := mounted(t, Config{Writable: writable})
		raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "1.0"})
		if err != nil {
			t.Fatal(err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		blobs := append([]ocispec.Descriptor{m.Config}, m.Layers...)
		want, content := []string{manifestName, configName}, make(map[string]string)
		m.Layers = nil
		for i := range files {
			name, layer := fmt.Sprintf("f%03d", i), blobs[i%len(blobs)]
			layer.Annotations = map[string]string{ocispec.AnnotationTitle: name}
			m.Layers = append(m.Layers, layer)
			want, content[name] = append(want, name), layer.Digest.String()
		}
		slices.Sort(want)
		// The buffers of a small reader, of musl and of glibc.
		for _, piece := range []struct{ size, every int }{{128, 1}, {2048, 50}, {2048, 7}, {32768, 50}} {
			what := fmt.Sprintf("in pieces of %d bytes, with a look at every %dth entry, writable: %v", piece.size, piece.every, writable != nil)
			m.Annotations = map[string]string{"read": what} // an artifact that nobody has looked into
			if raw, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
			w.push(repo, "many", desc.MediaType, raw)
			w.m.Refresh()
			dir := w.path(repo, "_tags/many")
			got := readPieces(t, dir, piece.size, piece.every)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d names, want %d", what, len(got), len(want))
			}
			wrong := 0
			for name, digest := range content {
				value := make([]byte, len(digest))
				if _, err := unix.Getxattr(filepath.Join(dir, name), "user.oci.digest", value); err != nil || string(value) != digest {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("%s: %d of %d names have the content of another", what, wrong, files)
			}
		}
	}
}
