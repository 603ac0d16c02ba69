package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAuditLogFollowsItsName(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	log, err := openAuditLog("audit")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	t.Chdir("/") // as a daemon
	write := func(line string) {
		t.Helper()
		if _, err := log.Write([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	check := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	write("1\n")
	if err := os.Rename(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.1")); err != nil {
		t.Fatal(err)
	}
	write("2\n")
	check("audit.1", "1\n")
	check("audit", "2\n")
	if err := os.Truncate(filepath.Join(dir, "audit"), 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	write("3\n")
	check("audit", "3\n")

	// A new file that cannot be made is an error, until it can.
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte("lost\n")); err == nil {
		t.Error("a line that was written nowhere is no error")
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	write("4\n")
	check("audit", "3\n4\n")
}

func TestAuditLogThatCannotBeOpenedIsAnError(t *testing.T) {
	if _, err := openAuditLog(t.TempDir()); err == nil {
		t.Error("a directory was taken")
	}
	if _, err := openAuditLog(filepath.Join(t.TempDir(), "no", "audit")); err == nil {
		t.Error("a file in no directory was taken")
	}
}
