package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// rclone's mount of its http remote, which is what it has for servers that
// only answer GET.
//
// It reads the very same blob from the very same registry, by ranges, as acrfs
// does. An http remote finds its files in a page of links, which registries do
// not have; so the gate answers /v2/bench/blobs/ with a page that links to the
// blob. It has its token given and asks for none. It
// keeps the file in a cache on the same disk, without checking the digest,
// since it knows none: all of that is to its advantage. Four streams, as in
// its manual's advice for fast stores, with the chunk size named there.
func mountRclone(b *testing.B, s *server, blob fixture.Blob) (path string, done func()) {
	b.Helper()
	page := fmt.Sprintf("<html><body><a href=\"./%s\">blob</a></body></html>", blob.Digest)
	listed := s.gate.add(
		func(r *http.Request) bool { return r.URL.Path == "/v2/bench/blobs/" },
		func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, page)
		})
	// It writes ./ before a name with a colon, and not every registry has a
	// path for that.
	dotted := s.gate.add(
		func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v2/bench/blobs/./") },
		func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.URL.Path = strings.Replace(r.URL.Path, "/./", "/", 1)
			r.URL.RawPath = ""
			next.ServeHTTP(w, r)
		})
	token := "any" // distribution takes all
	if s.acr {
		token = curlToken(b, s, "repository:bench:pull")
	}
	dir, cache := openDir(b), openDir(b)
	cmd := exec.Command(peer("rclone"), "mount", ":http:", dir,
		"--http-url", s.url+"/v2/bench/blobs/", "--http-headers", "Authorization,Bearer "+token,
		"--vfs-cache-mode", "full", "--multi-thread-streams", "4", "--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "4M",
		"--cache-dir", cache, "--config", "", "--read-only")
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	done = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		for mountedBy(dir, "fuse.rclone") {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				b.Errorf("detach %s: %v", dir, err)
				return
			}
		}
		os.RemoveAll(cache)
		listed()
		dotted()
	}
	waitFor(b, "rclone's mount", func() bool {
		select {
		case <-ended:
			b.Fatalf("rclone mount ended:\n%s", said.tail(20))
		default:
		}
		return mountedBy(dir, "fuse.rclone")
	})
	path = dir + "/" + blob.Digest.String()
	if info, err := os.Stat(path); err != nil || info.Size() != blob.Size {
		done()
		b.Fatalf("rclone does not show the blob: %v\n%s", err, said.tail(20))
	}
	return path, done
}

// mountedBy tells whether dir is a mount point of that kind.
func mountedBy(dir, kind string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[4] == dir && strings.Contains(line, " "+kind+" ") {
			return true
		}
	}
	return false
}
