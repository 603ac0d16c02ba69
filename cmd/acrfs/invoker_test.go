package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry"
)

// Under sudo the logins of the user who called it are meant, and the line says
// whose files were read.
func TestSudoReadsTheLoginsOfWhoCalledIt(t *testing.T) {
	requireMount(t)
	caller, err := user.LookupId("65534")
	if os.Geteuid() != 0 || err != nil {
		t.Skipf("not root, or no user nobody: %v", err)
	}
	_, url := serveSeeded(t)
	cmd := command(t, "mount", "--auth", "docker", url, t.TempDir())
	cmd.Env = append(cmd.Env, "SUDO_UID=65534", "DOCKER_CONFIG=")
	p := start(t, cmd)
	host := strings.TrimPrefix(url, "http://")
	want := "acrfs mount: --auth docker: no login for " + host + " in " + caller.HomeDir + "/.docker/config.json (" +
		caller.Username + "'s, who called sudo): run docker login " + host + "\n"
	if status := p.status(); status != exitFailed || p.stderr.String() != want {
		t.Errorf("status %d, got %swant %s", status, p.stderr, want)
	}
}

// A program that a user's configuration names does not run as root.
func TestSudoRunsHelpersAsWhoCalledIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: there is nobody to become")
	}
	room, err := os.MkdirTemp("", "acrfs-test-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(room) })
	helper := "#!/bin/sh\necho \"{\\\"Username\\\":\\\"$(id -u):$(id -g) of $USER\\\",\\\"Secret\\\":\\\"$HOME\\\"}\"\n"
	for _, err := range []error{
		os.Chmod(room, 0o755),
		os.WriteFile(filepath.Join(room, "docker-credential-who"), []byte(helper), 0o755),
		os.WriteFile(filepath.Join(room, "config.json"), []byte(`{"credsStore":"who"}`), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", room+":/bin:/usr/bin")
	d := &dockerLogin{file: filepath.Join(room, "config.json"), host: anyHost, owner: &invoker{name: "alice", home: "/home/alice", uid: 65534, gid: 65533}}
	want := registry.Credential{Username: "65534:65533 of alice", Password: "/home/alice"}
	if got, err := d.Credential(t.Context()); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
