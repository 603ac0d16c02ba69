package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestIndexThatCannotBeReadKeepsWhatItMightNeed has the registry serve wrong
// bytes for one of two indexes. What the other needs is as busy as ever; what
// this one might need stays too, with one line that says why and what to do.
func TestIndexThatCannotBeReadKeepsWhatItMightNeed(t *testing.T) {
	s := newLocalACR(t)
	good, bad, loose := fixture.ManifestList("good"), fixture.ManifestList("bad"), fixture.Chart("loose")
	push(t, s, "app", "good", good)
	push(t, s, "app", "bad", bad)
	push(t, s, "app", "", loose)
	broken := func(flags ...string) *mount {
		m := mountServer(t, s, append([]string{"--writable"}, flags...)...)
		t.Cleanup(s.gate.add(both(about("/v2/app/manifests/"+bad.Digest.String()), isGet), corrupt(30)))
		s.gate.forget()
		return m
	}
	me := uint32(os.Geteuid())
	remove := func(m *mount, d *fixture.Manifest, fails string) {
		t.Helper()
		out, err := asUser(t, me, m, "app", "rm -r $R/_manifests/"+d.Digest.String())
		if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(out, fails)) {
			t.Errorf("rm -r: %v %s, want %q", err, out, fails)
		}
	}

	m := broken()
	remove(m, good.Children[0], "busy")
	remove(m, bad.Children[0], "Input/output error")
	remove(m, loose, "Input/output error")
	checkChangesSent(t, s)
	m.output.await(t, "item=app@"+loose.Digest.String())
	lines := 0
	for line := range strings.Lines(m.output.String()) {
		if strings.Contains(line, loose.Digest.String()) && strings.Contains(line, "level=ERROR") {
			lines++
			for _, want := range []string{bad.Digest.String(), "held by tag bad", "rm -r app/_manifests/" + bad.Digest.String(), "--allow-orphaning"} {
				if !strings.Contains(line, want) {
					t.Errorf("the refusal does not say %q:\n%s", want, line)
				}
			}
		}
	}
	if lines != 1 {
		t.Errorf("%d lines about the refusal, want 1", lines)
	}

	// Either way out works.
	orphaning := broken("--allow-orphaning")
	remove(orphaning, bad.Children[0], "")
	remove(m, bad, "")
	remove(m, good.Children[0], "busy")
	remove(m, loose, "")
	checkChangesSent(t, s,
		"DELETE /v2/app/manifests/"+bad.Children[0].Digest.String(),
		"DELETE /v2/app/manifests/"+bad.Digest.String(),
		"DELETE /v2/app/manifests/"+loose.Digest.String())
	checkPulled(t, s, "app", "good", good)
}

// TestUnreadableIndexThatNobodyHoldsKeepsNothing: a broken index without a tag
// must not stop the clean-up of its repository.
func TestUnreadableIndexThatNobodyHoldsKeepsNothing(t *testing.T) {
	s := newLocalACR(t)
	bad, loose := fixture.ManifestList("bad"), fixture.Chart("loose")
	push(t, s, "app", "", bad)
	push(t, s, "app", "", loose)
	m := mountServer(t, s, "--writable")
	s.gate.add(both(about("/v2/app/manifests/"+bad.Digest.String()), isGet), corrupt(30))
	shell(t, `rm -r "$1" "$2"`, m.manifestDir("app", loose.Digest), m.manifestDir("app", bad.Children[0].Digest))
	if n := s.gate.count(isDeletion); n != 2 {
		t.Errorf("%d deletions, want 2", n)
	}
}
