package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// shellBlocks returns the ```sh blocks of the README: those marked to be run
// in the demo, and the others.
func shellBlocks(t *testing.T) (demo, others []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), "```sh\n")
	for found {
		block, after, closed := strings.Cut(rest, "```\n")
		if !closed {
			t.Fatalf("a block without end: %.60q", rest)
		}
		switch {
		case strings.HasSuffix(before, "<!-- run in the demo -->\n"):
			demo = append(demo, block)
		case strings.HasSuffix(before, "<!-- samples -->\n"):
			// They delete: the integration tests run them on registries of their own.
		default:
			others = append(others, block)
		}
		before, rest, found = strings.Cut(after, "```sh\n")
	}
	if len(demo) == 0 || len(others) == 0 {
		t.Fatalf("%d blocks for the demo, %d others", len(demo), len(others))
	}
	return demo, others
}

func TestReadmeCommandsWorkInTheDemo(t *testing.T) {
	for _, tool := range []string{"getfattr", "jq", "rsync", "mountpoint"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: make deps installs it", err)
		}
	}
	p, tmp, dir, _ := startDemo(t)
	blocks, _ := shellBlocks(t)
	for _, block := range blocks {
		// -x shows which line failed.
		cmd := exec.CommandContext(t.Context(), "sh", "-eux")
		cmd.Stdin = strings.NewReader(block)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "M="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		// The last command is a backup: repeated, it has nothing to do.
		again := exec.CommandContext(t.Context(), "rsync", "-aH", "--itemize-changes", dir+"/", "backup/")
		again.Dir = cmd.Dir
		if out, err := again.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("the second backup: %v, copied:\n%s", err, out)
		}
	}
	if status := p.stop(syscall.SIGINT); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
	checkNothingLeft(t, tmp, dir)
}

func TestReadmeNamesOnlyWhatExists(t *testing.T) {
	_, blocks := shellBlocks(t)
	seen := 0
	for _, block := range blocks {
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(line, " <") // redirections are the shell's
			words := strings.Fields(line)
			if words[0] != "bin/acrfs" {
				continue
			}
			seen++
			cmd, args, err := newRoot().Find(words[1:])
			if err != nil || cmd.Name() != words[1] {
				t.Errorf("%s: no such command: %v", line, err)
				continue
			}
			if err := cmd.ParseFlags(args); err != nil {
				t.Errorf("%s: %v", line, err)
			} else if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if seen == 0 {
		t.Error("no acrfs command in the README")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(readme)) {
		if target, ok := strings.CutPrefix(line, "make "); ok && !strings.Contains(string(makefile), "\n"+strings.TrimSpace(target)+":") {
			t.Errorf("make %s: no such target", strings.TrimSpace(target))
		}
	}
}
