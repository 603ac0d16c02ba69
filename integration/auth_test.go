package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

const (
	username = "ci-reader"
	password = "correct horse battery staple"
)

// protectedServers need a name and a password: one hands out tokens for them,
// as ACR does, the other wants them with every request.
func protectedServers(t *testing.T) []*server {
	t.Helper()
	acr := startLocalACR(t, localacr.Config{
		Root: t.TempDir(), Auth: localacr.AuthBasic,
		Users: []localacr.User{{Name: username, Passwords: []string{password}, Admin: true}},
	})
	acr.auth = &authn.Basic{Username: username, Password: password}
	return []*server{acr, newProtectedDistribution(t, username, password)}
}

// TestMountLogsIn mounts registries that let nobody in without a password, and
// looks for it where it must not be.
func TestMountLogsIn(t *testing.T) {
	for _, s := range protectedServers(t) {
		t.Run(s.name, func(t *testing.T) {
			index := fixture.MultiArch("1")
			push(t, s, "team/app", "v1", index)
			m := mountWith(t, s, mountOptions{env: []string{"ACRFS_USERNAME=" + username, "ACRFS_PASSWORD=" + password}})
			checkArtifact(t, m.tagDir("team/app", "v1"), index)
			for _, child := range index.Children {
				checkArtifact(t, m.manifestDir("team/app", child.Digest), child)
			}
			m.unmount()
			for _, secret := range []string{password, "Bearer ", "sig=", "eyJ"} {
				if strings.Contains(m.output.String(), secret) {
					t.Errorf("the log has %q in it", secret)
				}
			}
			for _, r := range s.gate.requests() {
				if strings.Contains(r.Query, "battery") {
					t.Errorf("the password was sent in the query of %s", r.Path)
				}
			}
		})
	}
}

// TestMountWithWrongPasswordSaysSo is a line and an exit status, and no mount.
func TestMountWithWrongPasswordSaysSo(t *testing.T) {
	for _, s := range protectedServers(t) {
		for name, env := range map[string][]string{
			"wrong": {"ACRFS_USERNAME=" + username, "ACRFS_PASSWORD=guess"},
			"none":  {"ACRFS_USERNAME=", "ACRFS_PASSWORD="},
		} {
			t.Run(s.name+" "+name, func(t *testing.T) {
				m := startMount(t, s, mountOptions{env: env, flags: []string{"--log-level", "error"}})
				m.awaitEnd()
				if m.process.ProcessState.ExitCode() != 1 || isMounted(m.dir) {
					t.Errorf("exit %v, mounted: %t; want 1 and no mount", m.exit, isMounted(m.dir))
				}
				said := m.output.String()
				if strings.Count(said, "\n") != 1 || strings.Contains(said, "guess") {
					t.Errorf("it said:\n%s\nwant one line, without the password", said)
				}
			})
		}
	}
}

// TestMountOverTLS mounts a registry whose certificate nobody trusts, and then
// one that the user says to trust.
func TestMountOverTLS(t *testing.T) {
	s := newLocalACR(t)
	index := fixture.MultiArch("1")
	push(t, s, "app", "v1", index)
	host, certificates := serveTLS(t, s)
	untrusted := startMount(t, s, mountOptions{url: "https://" + host})
	untrusted.awaitEnd()
	if untrusted.process.ProcessState.ExitCode() != 1 {
		t.Errorf("a registry that nobody trusts was mounted: %s", untrusted.output)
	}
	m := mountWith(t, s, mountOptions{url: "https://" + host, flags: []string{"--tls-ca", filepath.Join(certificates, "ca.crt")}})
	checkArtifact(t, m.tagDir("app", "v1"), index)
}
