package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// TestSampleOfAnonymousAccess runs the README's sample on a registry where
// everyone may pull and nobody without a name may change anything: on a
// writable mount that is refused, and all is there afterwards.
func TestSampleOfAnonymousAccess(t *testing.T) {
	needTools(t, "setfattr")
	s := startLocalACR(t, localacr.Config{
		Root: t.TempDir(), Auth: localacr.AuthAnonymous,
		Users: []localacr.User{{Name: username, Passwords: []string{password}, Admin: true}},
	})
	s.auth = &authn.Basic{Username: username, Password: password}
	want := []string{}
	for i := range 3 {
		tag := fmt.Sprintf("v%d", i)
		want = append(want, tag)
		push(t, s, "library/hello-world", tag, fixture.Chart(tag))
	}
	helpers, rows := readmeSamples(t)
	row := rows[slices.IndexFunc(rows, func(r sample) bool { return r.name == "list tags with anonymous access" })]
	m := mountServer(t, s, "--auth", "anonymous", "--writable")
	me := uint32(os.Geteuid())
	if out, err := asUser(t, me, m, "library/hello-world", helpers+row.shell); err != nil || !slices.Equal(strings.Fields(out), want) {
		t.Errorf("%s says %q (%v), want %q", row.shell, out, err, want)
	}
	for _, change := range []string{
		"rm -r $R/_tags/v0", "rm -r $R/_manifests/$(getfattr --absolute-names --only-values -n user.acr.digest $R/_tags/v0)",
		"setfattr -n user.acr.can_write -v false $R/_tags/v0", "rm -r $R",
	} {
		if out, err := asUser(t, me, m, "library/hello-world", change); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("%s: %v %s", change, err, out)
		}
		if out, err := asUser(t, me, m, "library/hello-world", "cat $R/_tags/*/manifest.json >/dev/null && "+row.shell); err != nil || !slices.Equal(strings.Fields(out), want) {
			t.Errorf("after %s there is %q (%v), want %q", change, out, err, want)
		}
	}
}
