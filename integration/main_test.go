package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch is where the program is built; main_test alone writes it.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "acrfs-integration-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		defer printTable(os.Stdout) // of the benchmarks, if any ran
		return m.Run()
	}())
}

// program builds acrfs when the first test needs it, with the race detector
// when the tests have it.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "acrfs")
	args := []string{"build", "-C", "..", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "./cmd/acrfs")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build acrfs: %v\n%s", err, out)
	}
	return path, nil
})

// acrfs is the program's path.
func acrfs(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test that lacks something of the machine, unless this is a
// machine that has to have it.
func need(t testing.TB, what string, present bool) {
	t.Helper()
	switch {
	case present:
	case os.Getenv("CI") == "true":
		t.Fatalf("this machine has no %s, and CI=true says that every test must run", what)
	default:
		t.Skipf("this machine has no %s", what)
	}
}

// needTools is need for programs.
func needTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		need(t, "program called "+name, err == nil)
	}
}

// needRoot is need for what only root can do: becoming another user, say.
func needRoot(t testing.TB) {
	t.Helper()
	need(t, "root", os.Geteuid() == 0)
}
