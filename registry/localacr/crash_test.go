package localacr_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// childRoot is set in a child process of TestKilledServerKeepsWhatItAcknowledged.
const childRoot = "LOCALACR_TEST_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		serveUntilKilled(root)
	}
	os.Exit(m.Run())
}

// serveUntilKilled is the child process: it says where it listens, and serves.
func serveUntilKilled(root string) {
	s, err := localacr.Open(localacr.Config{Root: root, Name: "crash"})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("listen:", err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	fmt.Println(http.Serve(l, s))
	os.Exit(1)
}

// A server that is killed in the middle of pushes has everything that it said
// yes to, and nothing by halves.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	root := freshRoot(t)
	acknowledged := map[string]string{} // tag -> content of its layer
	for round := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childRoot+"="+root)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{TB: t, host: "crash", url: "http://" + strings.TrimSpace(address), http: &http.Client{}, tokens: map[string]string{}}
		r.token("repository:a:*")

		var mu sync.Mutex
		var wg sync.WaitGroup
		enough := make(chan struct{})
		for worker := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					tag, layer := fmt.Sprintf("t%d-%d-%d", round, worker, i), fmt.Sprintf("layer of %d-%d-%d", round, worker, i)
					if !r.tryPush("a", tag, layer) {
						return // killed
					}
					mu.Lock()
					acknowledged[tag] = layer
					if len(acknowledged) == (round+1)*40 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		child.Wait()
		r.http.CloseIdleConnections()
	}

	r := start(t, localacr.Config{Root: root, Name: "crash"})
	r.host = "crash"
	r.checked()
	for tag, layer := range acknowledged {
		got := r.auth("GET", "a", "/v2/a/manifests/"+tag, "", "Accept: "+typeManifest).want(200)
		d := localacr.DigestOf("", []byte(layer))
		if !strings.Contains(got.body, d) {
			t.Fatalf("tag %s has lost its layer", tag)
		}
		r.fetch("a", d).says(200, layer)
	}
	t.Logf("%d acknowledged pushes survived three kills", len(acknowledged))
}

// tryPush pushes an image and reports whether all of it was acknowledged.
func (r *rig) tryPush(repo, tag, layer string) bool {
	config := "{}"
	for _, blob := range []string{config, layer} {
		if r.auth("POST", repo, "/v2/"+repo+"/blobs/uploads/?digest="+localacr.DigestOf("", []byte(blob)), blob).status != 201 {
			return false
		}
	}
	return r.tryManifest(repo, tag, config, layer)
}

// tryManifest is the end of tryPush, when the blobs are there.
func (r *rig) tryManifest(repo, tag, config, layer string) bool {
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":%d},"layers":[{"mediaType":"x/y","digest":%q,"size":%d}]}`,
		typeManifest, localacr.DigestOf("", []byte(config)), len(config), localacr.DigestOf("", []byte(layer)), len(layer))
	return r.auth("PUT", repo, "/v2/"+repo+"/manifests/"+tag, manifest, "Content-Type: "+typeManifest).status == 201
}

func TestDataDirectoryHasOneServer(t *testing.T) {
	r := start(t, localacr.Config{})
	_, err := localacr.Open(localacr.Config{Root: r.root()})
	if err == nil || !strings.Contains(err.Error(), "in use by another server") || strings.Contains(err.Error(), "\n") {
		t.Errorf("opened twice: %v", err)
	}
}

// A database that a copy left incomplete is an error, wherever it was cut.
func TestDatabaseThatIsCutShort(t *testing.T) {
	r := start(t, localacr.Config{})
	for i := range 20 { // enough for the database to have pages of all kinds
		r.pushImage("a", fmt.Sprintf("v%d", i), fmt.Sprintf("layer %d", i))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(r.root(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 3000, 8 << 10, 12 << 10, 20 << 10, 40 << 10} {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "registry.db"), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := localacr.Open(localacr.Config{Root: root})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), root) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d bytes of %d: %v", size, len(whole), err)
		}
	}
}
