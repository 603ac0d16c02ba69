package fs

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/acrfs/acrfs/registry"
)

// A descriptor that promises more bytes than the blob has is another file than
// the blob, so that tools do not take it for a hard link, and reading it fails.
func TestDescriptorWithAWrongSizeIsAnotherFile(t *testing.T) {
	w := mounted(t, Config{})
	const repo = "library/hello-world/docs"
	raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	var lie ocispec.Manifest
	if err := json.Unmarshal(raw, &lie); err != nil {
		t.Fatal(err)
	}
	lie.Config.Size += 5
	raw, _ = json.Marshal(lie)
	w.push(repo, "lie", desc.MediaType, raw)

	stat := func(tag string) (st syscall.Stat_t) {
		if err := syscall.Stat(w.path(repo, "_tags", tag, "config.json"), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	good, bad := stat("latest"), stat("lie")
	if good.Ino == bad.Ino || bad.Size != good.Size+5 {
		t.Errorf("inodes %d and %d, sizes %d and %d", good.Ino, bad.Ino, good.Size, bad.Size)
	}
	for range 2 { // a look-up gives a fresh file each time, which is as wrong
		if _, err := os.ReadFile(w.path(repo, "_tags/lie/config.json")); !errors.Is(err, syscall.EIO) {
			t.Errorf("reading it: %v, want EIO", err)
		}
	}
	if _, err := os.ReadFile(w.path(repo, "_tags/latest/config.json")); err != nil {
		t.Errorf("reading the blob: %v", err)
	}
}
