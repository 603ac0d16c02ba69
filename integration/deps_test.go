package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/acrfs/acrfs"

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath   string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// edge is an import that must not be: from packages that match the pattern
// From, of those that match To, unless From also matches one of But.
type edge struct {
	from, to string
	but      []string
	reason   string
}

// forbidden is the architecture as a list of what does not happen. A star
// stands for any part of a path, slashes included.
var forbidden = []edge{
	{module + "/registry*", module + "/cache", nil, "the client knows HTTP and nothing of files; fs joins the two"},
	{module + "/registry*", module + "/fs", nil, "imports flow cmd -> fs -> registry"},
	{module + "/registry*", module + "/cmd*", nil, "nobody imports the command"},
	{module + "/cache", module + "/registry*", nil, "the cache knows digests and disks and nothing of registries; fs joins the two"},
	{module + "/cache", module + "/fs", nil, "imports flow cmd -> fs -> cache"},
	{module + "/fs", module + "/registry/localacr", nil, "the tree is for any registry; only the command starts one"},
	{module + "/fs", module + "/cmd*", nil, "nobody imports the command"},
	{module + "/registry/localacr", module + "*", nil, "the emulator shares no code with the client, so that a wrong field name cannot agree with itself"},
	{module + "*", module + "/integration*", nil, "servers and clients of others are for tests only"},
	{module + "*", "github.com/hanwen/go-fuse/*", []string{module + "/fs"}, "only fs talks to the kernel"},
	{module + "*", "github.com/Azure/azure-sdk-for-go/sdk/azcore*", []string{module + "/registry", module + "/cmd/acrfs"}, "only registry builds pipelines; the command passes credentials through"},
	{module + "*", "github.com/Azure/azure-sdk-for-go/sdk/azidentity*", []string{module + "/cmd/acrfs"}, "credentials are chosen by flags and environment, which only the command reads"},
	{module + "*", "github.com/spf13/*", []string{module + "/cmd/acrfs"}, "only the command reads flags"},
	{module + "/cache", "net/http", nil, "the cache knows nothing of HTTP"},
	{module + "/fs", "net/http", nil, "the tree asks the client, and the client speaks HTTP"},
}

// TestImportsFollowTheArchitecture reads the product's imports.
func TestImportsFollowTheArchitecture(t *testing.T) {
	packages := productPackages(t)
	for _, p := range packages {
		for _, imported := range p.Imports {
			for _, e := range forbidden {
				if matches(e.from, p.ImportPath) && !slices.Contains(e.but, p.ImportPath) && matches(e.to, imported) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, e.reason)
				}
			}
		}
	}
	// A rule about a package that is gone guards nothing.
	for _, e := range forbidden {
		if !slices.ContainsFunc(packages, func(p goPackage) bool { return matches(e.from, p.ImportPath) }) {
			t.Errorf("a rule is about %s, which does not exist", e.from)
		}
	}
}

// TestPackagesAreDocumentedAndNamedForWhatTheyDo checks what newcomers read
// first.
func TestPackagesAreDocumentedAndNamedForWhatTheyDo(t *testing.T) {
	for _, p := range productPackages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, part := range strings.Split(strings.TrimPrefix(p.ImportPath, module), "/") {
			if slices.Contains([]string{"internal", "pkg", "util", "utils", "common", "helpers"}, part) {
				t.Errorf("%s: %q says nothing about what is inside", p.ImportPath, part)
			}
		}
	}
}

// TestRulesOfMatching keeps the rules above from guarding nothing.
func TestRulesOfMatching(t *testing.T) {
	for _, row := range []struct {
		pattern, path string
		want          bool
	}{
		{module + "/cache", module + "/cache", true},
		{module + "/cache", module + "/cachefs", false},
		{module + "/registry*", module + "/registry/localacr", true},
		{"net/http", "net/http/httptest", false},
		{"github.com/spf13/*", "github.com/spf13/cobra", true},
	} {
		if got := matches(row.pattern, row.path); got != row.want {
			t.Errorf("matches(%q, %q) = %t", row.pattern, row.path, got)
		}
	}
}

func matches(pattern, importPath string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(importPath, prefix)
	}
	return pattern == importPath
}

func productPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-C", "..", "-json=ImportPath,Doc,Imports,TestImports,XTestImports", "./...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(out); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(packages) == 0 || !slices.ContainsFunc(packages, func(p goPackage) bool { return path.Base(p.ImportPath) == "fs" }) {
		t.Fatalf("go list found %d packages and no fs", len(packages))
	}
	return packages
}
