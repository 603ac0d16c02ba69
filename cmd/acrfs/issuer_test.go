package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServeSaysWhatIsWrongWithItsIssuerKeys(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(bad, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		keys   string
		status int
		want   string
	}{
		{"http://login.example/keys", exitUsage, `--entra-keys "http://login.example/keys": want an https URL or a file`},
		{bad, exitFailed, "--entra-keys " + bad + ": no RSA key in the JSON Web Key Set"},
		{bad + ".none", exitFailed, "no such file"},
		{"https://127.0.0.1:1/keys", exitFailed, "connection refused"},
	} {
		_, stderr, status := runHere(t, "serve", "--listen", "127.0.0.1:0", "--root", t.TempDir(), "--auth", "entra", "--entra-keys", row.keys)
		if status != row.status || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, row.want) {
			t.Errorf("%s: status %d, %q; want %d and %q", row.keys, status, stderr, row.status, row.want)
		}
	}
}

// Issuers change their keys; strangers who invent key ids do not make us ask
// for each of them.
func TestIssuerKeysAreReadAnewForAnUnknownIdButNotAtOnce(t *testing.T) {
	a := newEntraServer(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(id string) {
		t.Helper()
		text := strings.Replace(keySet(t, a), `"kid":"one"`, `"kid":"`+id+`"`, 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	k := &issuerKeys{from: file}
	if err := k.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("new")
	if _, err := k.key(t.Context(), "new"); err == nil {
		t.Error("the file was read again at once")
	}
	k.at = time.Now().Add(-2 * keysEvery)
	if key, err := k.key(t.Context(), "new"); err != nil || !key.Equal(&a.key.PublicKey) {
		t.Errorf("a new key: %v", err)
	}
	if _, err := k.key(t.Context(), "old"); err == nil {
		t.Error("a key that the issuer took back is still known")
	}
}

func keySet(t *testing.T, a *entraServer) string {
	t.Helper()
	resp, err := a.Client().Get(a.URL + "/discovery/v2.0/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
