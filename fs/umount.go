package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fusermountLimit is how long the helper may take. It makes a few system calls
// that do not ask the daemon anything.
const fusermountLimit = 30 * time.Second

// Unmount unmounts the acrfs mount at path, whoever mounted it, and the daemon
// behind it ends by itself. It works on a mount whose daemon is dead or hangs.
// ErrNotMounted when there is none at path; EBUSY, by errors.Is, when someone
// uses it (Holders tells who).
func Unmount(path string) error {
	dir, err := findMount(path)
	if err != nil {
		return err
	}
	return detach(dir, 0)
}

// UnmountLazily takes the mount at path out of the tree at once. Who uses it
// may go on until they let go.
func UnmountLazily(path string) error {
	dir, err := findMount(path)
	if err != nil {
		return err
	}
	return detach(dir, unix.MNT_DETACH)
}

// findMount returns the mount point that path means, or ErrNotMounted.
func findMount(path string) (string, error) {
	dir, err := resolveMountpoint(path)
	if err != nil {
		return "", err
	}
	mounts, err := readMounts()
	if err != nil {
		return "", err
	}
	if top, ok := topMount(mounts, dir); ok {
		if top.fstype == mountType {
			return dir, nil
		}
		return "", fmt.Errorf("%s is %w: it is a mount of type %s", dir, ErrNotMounted, top.fstype)
	}
	for _, m := range mounts {
		if m.fstype == mountType && below(dir, m.dir) {
			return "", fmt.Errorf("%s is %w: it lies inside the one at %s", dir, ErrNotMounted, m.dir)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%s is %w: it does not exist", dir, ErrNotMounted)
	}
	return "", fmt.Errorf("%s is %w", dir, ErrNotMounted)
}

// detach unmounts dir by itself where it may and with fusermount3 otherwise.
func detach(dir string, flags int) error {
	err := unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW)
	if !errors.Is(err, unix.EPERM) {
		if err != nil {
			return &os.PathError{Op: "unmount", Path: dir, Err: err}
		}
		return nil
	}
	helper, err := fusermount()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), fusermountLimit)
	defer cancel()
	args := []string{"-u"}
	if flags&unix.MNT_DETACH != 0 {
		args = append(args, "-z")
	}
	cmd := exec.CommandContext(ctx, helper, append(args, "--", filepath.Clean(dir))...)
	// Its message is all that tells busy from forbidden: keep it English.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// A signal that ends us, and comes to our group again, would end it as well.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(string(bytes.ToValidUTF8(out, nil)))
	if strings.Contains(strings.ToLower(said), unix.EBUSY.Error()) {
		return &os.PathError{Op: "unmount", Path: dir, Err: unix.EBUSY}
	}
	if said == "" {
		said = err.Error()
	}
	return fmt.Errorf("unmount %s: %s", dir, said)
}
