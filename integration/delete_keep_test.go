package integration

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestSampleKeepsThreeOfTenThousand runs the README's clean-up as it is written
// on a repository of 10,001 manifests, and on ones with fewer than three.
func TestSampleKeepsThreeOfTenThousand(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("10,001 manifests take too long with the race detector")
	}
	needTools(t, "getfattr", "setfattr")
	s := newLocalACR(t)
	const many = 10_001
	plantMany(t, s, "team/large", many-1)
	chart := fixture.Chart("last")
	push(t, s, "team/large", "latest", chart)
	push(t, s, "team/small", "v1", chart)
	push(t, s, "team/small", "", fixture.Files("read me.txt", "x"))
	j := judge{t, sdkClient(t, s)}
	locked := j.manifests("team/large")[5000]
	j.lock("team/large", "", locked)
	before := j.manifests("team/large")
	if len(before) != many {
		t.Fatalf("%d manifests, want %d", len(before), many)
	}
	want, small := before[:3], j.manifests("team/small")

	helpers, rows := readmeSamples(t)
	row := rows[slices.IndexFunc(rows, func(r sample) bool { return r.name == "the same in all repositories" })]
	m := mountServer(t, s, "--writable")
	s.gate.forget()
	began := time.Now()
	out, err := asUser(t, uint32(os.Geteuid()), m, "team/large", "set -e; "+helpers+row.shell)
	if err != nil || out != "" {
		t.Errorf("%v %.2000s", err, out)
	}
	deletions := s.gate.count(isDeletion)
	reads := s.gate.count(func(r *record) bool {
		return r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/v2/") && strings.Contains(r.Path, "/manifests/")
	})
	others := len(s.gate.requests()) - deletions - reads
	t.Logf("%d deletions, %d manifests read, %d other requests, %v", deletions, reads, others, time.Since(began))
	// Whoever wants to know what is live asks for the eleven pages anew every
	// ten seconds; the refused deletion of what is locked is one more.
	if pages := 12 * int(2+time.Since(began)/(10*time.Second)); deletions != many-3 || reads > many || others > pages+20 {
		t.Errorf("%d deletions, %d manifests read, %d other requests; want %d, as many, at most %d", deletions, reads, others, many-3, pages+20)
	}
	if got := j.manifests("team/large"); !slices.Equal(got, want) {
		t.Errorf("%d manifests are left, %q, want %q", len(got), got, want)
	}
	if got := j.manifests("team/small"); !slices.Equal(got, small) {
		t.Errorf("of two manifests are left %q", got)
	}
}
