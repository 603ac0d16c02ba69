package fs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckHost says why this machine, or this user on it, cannot mount at all:
// no FUSE device, no helper to mount with, or an allow_other that the
// administrator did not permit. It is cheap and has no side effects.
func CheckHost(allowOther bool) error {
	_, err := fusermount()
	return host{
		device:     "/dev/fuse",
		config:     "/etc/fuse.conf",
		privileged: privileged(),
		helper:     err == nil,
	}.check(allowOther)
}

// host is what mounting depends on.
type host struct {
	device     string // the FUSE device
	config     string // fusermount3's configuration
	privileged bool   // may mount without help
	helper     bool   // fusermount3 is installed
}

func (h host) check(allowOther bool) error {
	f, err := os.OpenFile(h.device, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is missing: load the kernel module (modprobe fuse), or give it to the container (--device /dev/fuse --cap-add SYS_ADMIN)", h.device)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s cannot be opened by this user: chmod 0666 %s, or run as root", h.device, h.device)
	case err != nil:
		return err
	}
	f.Close()
	if h.privileged {
		return nil
	}
	if !h.helper {
		return errors.New("fusermount3 is not installed, and only root mounts without it: install the package fuse3")
	}
	if allowOther && !permitsOthers(h.config) {
		return fmt.Errorf("--allow-other needs a line user_allow_other in %s, or root", h.config)
	}
	return nil
}

// permitsOthers reads fuse.conf as fusermount3 does: the option stands on a
// line by itself, after a # is comment.
func permitsOthers(config string) bool {
	f, err := os.Open(config)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		option, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(option) == "user_allow_other" {
			return true
		}
	}
	return false
}

// privileged reports whether this process mounts and unmounts by itself. Being
// root is not enough in a container.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// fusermount finds the set-uid helper that mounts and unmounts for ordinary
// users, where go-fuse looks for it too.
func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount3 is not installed: install the package fuse3")
}
