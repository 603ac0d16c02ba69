package integration

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine says on what the figures were measured, and with which peers.
func machine() string {
	var kernel unix.Utsname
	unix.Uname(&kernel)
	sizes := "full sizes"
	if testing.Short() {
		sizes = "small sizes (-short): rough figures"
	}
	return fmt.Sprintf("%d cores %s, %s, Linux %s, %s, %s; %s; %s",
		runtime.NumCPU(), cpuModel(), hashSpeed(), unix.ByteSliceToString(kernel.Release[:]), disk(os.TempDir()), runtime.Version(),
		strings.Join([]string{
			version("crane", "version"), version("rclone", "version"), version("curl", "--version"),
			"distribution " + moduleVersion("github.com/distribution/distribution/v3"),
		}, ", "), sizes)
}

func cpuModel() string {
	model, extensions := "unknown", "no SHA extensions"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "flags", "Features":
			flags := strings.Fields(value)
			if slices.Contains(flags, "sha_ni") || slices.Contains(flags, "sha2") {
				extensions = "SHA extensions"
			}
		}
	}
	return model + " with " + extensions
}

// hashSpeed is the floor of every verified download.
func hashSpeed() string {
	block := make([]byte, 1<<20)
	hash := sha256.New()
	began := time.Now()
	for range 128 {
		hash.Write(block)
	}
	return fmt.Sprintf("SHA-256 at %.0f MB/s", 128*float64(len(block))/time.Since(began).Seconds()/1e6)
}

// disk is the kind of file system that everything is measured on.
func disk(dir string) string {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	kind, longest := "unknown file system", -1
	for line := range strings.Lines(string(table)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		rel, err := filepath.Rel(fields[4], dir)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") && len(fields[4]) > longest {
			kind, longest = strings.Fields(after)[0], len(fields[4])
		}
	}
	return kind
}

// version is the first line of what a peer says about itself.
func version(name string, args ...string) string {
	path := peer(name)
	if path == "" {
		return "no " + name
	}
	out, err := exec.Command(path, args...).Output()
	first, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(strings.TrimPrefix(first, name))
	if err != nil || len(words) == 0 {
		return name
	}
	return name + " " + words[0]
}

// moduleVersion is that of a peer that is linked into these tests.
func moduleVersion(path string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}
