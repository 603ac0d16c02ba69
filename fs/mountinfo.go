package fs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountType is what the mount table calls our mounts: "fuse." and the Name
// that Mount gives to the kernel.
const mountType = "fuse.acrfs"

// deviceNumber is a st_dev as /proc and /sys write it: major:minor.
func deviceNumber(device uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
}

// mountEntry is one line of the mount table.
type mountEntry struct {
	dir    string // where it is mounted, absolute and without symlinks
	device string // as deviceNumber writes it
	fstype string // "fuse.acrfs", "ext4", …
	source string // for our mounts the registry's host
}

// readMounts reads the mount table of this process. A later entry on the same
// directory lies on top of an earlier one.
func readMounts() ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer f.Close()
	mounts, err := parseMountinfo(f)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return mounts, nil
}

// parseMountinfo understands proc_pid_mountinfo(5):
//
//	36 35 98:0 /root /dir rw,noatime master:1 - fstype source options
//
// with any number of optional fields before the dash. Lines that look
// different are passed over: the table belongs to the whole system, and a line
// nobody understands must not keep anyone from mounting.
func parseMountinfo(r io.Reader) ([]mountEntry, error) {
	var mounts []mountEntry
	lines := bufio.NewScanner(r)
	// Overlay mounts carry options of many KiB, a page at most per option set.
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		where, what := strings.Fields(left), strings.Fields(right)
		if !ok || len(where) < 6 || len(what) < 2 {
			continue
		}
		mounts = append(mounts, mountEntry{
			dir:    unescapeMount(where[4]),
			device: where[2],
			fstype: what[0],
			source: unescapeMount(what[1]),
		})
	}
	return mounts, lines.Err()
}

// unescapeMount undoes the kernel's \040 for space, tab, newline and
// backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// topMount returns what is mounted exactly on dir, the uppermost where several
// are.
func topMount(mounts []mountEntry, dir string) (mountEntry, bool) {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].dir == dir {
			return mounts[i], true
		}
	}
	return mountEntry{}, false
}

// below reports whether path is dir or lies inside it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
