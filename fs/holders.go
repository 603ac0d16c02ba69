package fs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Holder is one process, or one mount, that keeps a mount busy.
type Holder struct {
	PID     int    // 0 for a mount inside the mount
	Command string // the process's name, as ps -o comm shows it
	Use     string // "works in", "has open", "has mapped", "runs", "is rooted in", "is mounted on"
	Path    string // what it uses
}

// String is one line for people: bash (pid 4711) works in /mnt/acr/library.
func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("%s %s %s", h.Command, h.Use, h.Path)
	}
	return fmt.Sprintf("%s (pid %d) %s %s", h.Command, h.PID, h.Use, h.Path)
}

const (
	// holdersLimit bounds the search in time: a machine can have a hundred
	// thousand processes, and the answer is only for people.
	holdersLimit = 2 * time.Second
	// holdersMax is as many as a person reads.
	holdersMax = 8
)

// Holders looks for who keeps the mount on dir busy, by names alone: it never
// touches the mount itself, which may hang. It sees only what this user may
// see of other users' processes, gives each process once, and stops after
// eight of them or two seconds.
func Holders(ctx context.Context, dir string) []Holder {
	ctx, cancel := context.WithTimeout(ctx, holdersLimit)
	defer cancel()
	if resolved, err := resolveMountpoint(dir); err == nil {
		dir = resolved
	}
	found := nestedMounts(dir)
	procs, err := os.Open("/proc")
	if err != nil {
		return found
	}
	defer procs.Close()
	for len(found) < holdersMax && ctx.Err() == nil {
		names, err := procs.Readdirnames(256)
		if err != nil {
			break
		}
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil || len(found) >= holdersMax || ctx.Err() != nil {
				continue
			}
			if h, ok := holds(ctx, pid, dir); ok {
				found = append(found, h)
			}
		}
	}
	return found
}

// nestedMounts are the file systems mounted inside dir; they keep it busy
// without any process.
func nestedMounts(dir string) []Holder {
	mounts, err := readMounts()
	if err != nil {
		return nil
	}
	var found []Holder
	for _, m := range mounts {
		if m.dir != dir && below(m.dir, dir) && len(found) < holdersMax {
			found = append(found, Holder{Command: m.fstype, Use: "is mounted on", Path: m.dir})
		}
	}
	return found
}

// holds reports the first thing that process pid uses below dir. A process
// that ended, or belongs to someone else, uses nothing that we can see.
func holds(ctx context.Context, pid int, dir string) (Holder, bool) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	holder := func(use, path string) (Holder, bool) {
		name, _ := os.ReadFile(filepath.Join(proc, "comm"))
		return Holder{PID: pid, Command: strings.TrimSpace(string(name)), Use: use, Path: path}, true
	}
	for _, link := range []struct{ name, use string }{{"cwd", "works in"}, {"root", "is rooted in"}, {"exe", "runs"}} {
		if path, err := os.Readlink(filepath.Join(proc, link.name)); err == nil && below(path, dir) {
			return holder(link.use, path)
		}
	}
	if path, ok := openFile(ctx, filepath.Join(proc, "fd"), dir); ok {
		return holder("has open", path)
	}
	if path, ok := mappedFile(ctx, filepath.Join(proc, "maps"), dir); ok {
		return holder("has mapped", path)
	}
	return Holder{}, false
}

func openFile(ctx context.Context, fds, dir string) (string, bool) {
	f, err := os.Open(fds)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for ctx.Err() == nil {
		names, err := f.Readdirnames(256)
		if err != nil {
			break
		}
		for _, name := range names {
			if path, err := os.Readlink(filepath.Join(fds, name)); err == nil && below(path, dir) {
				return path, true
			}
		}
	}
	return "", false
}

func mappedFile(ctx context.Context, maps, dir string) (string, bool) {
	f, err := os.Open(maps)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); ctx.Err() == nil && lines.Scan(); {
		// address perms offset device inode path; the path is the rest.
		if i := strings.IndexByte(lines.Text(), '/'); i >= 0 && below(lines.Text()[i:], dir) {
			return lines.Text()[i:], true
		}
	}
	return "", false
}
