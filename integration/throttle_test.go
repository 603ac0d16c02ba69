package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
	"github.com/acrfs/acrfs/registry/localacr"
)

// TestFindOnAThrottledRegistry walks through everything on a registry that
// takes fewer requests than find could send, as ACR does in its smaller tiers.
func TestFindOnAThrottledRegistry(t *testing.T) {
	const repositories, tags, perSecond = 40, 3, 50
	root := t.TempDir()
	t.Run("fill", func(t *testing.T) {
		s := startLocalACR(t, localacr.Config{Root: root})
		for i := range repositories * tags {
			push(t, s, fmt.Sprint("team/app", i/tags), fmt.Sprint("v", i%tags), fixture.Chart(fmt.Sprint(i)))
		}
	})
	s := startLocalACR(t, localacr.Config{Root: root, Throttle: perSecond, ThrottleSpan: time.Second})
	m := mountServer(t, s)

	found := strings.Fields(shell(t, `find "$1" -name manifest.json`, m.dir))
	if want := 2 * repositories * tags; len(found) != want { // by tag and by digest
		t.Errorf("find found %d manifests, want %d", len(found), want)
	}
	asked := len(s.gate.requests())
	refused := s.gate.count(func(r *record) bool { return r.Status.Load() == http.StatusTooManyRequests })
	if refused == 0 {
		t.Errorf("none of %d requests was refused: nothing was tested", asked)
	}
	if refused > asked/4 {
		t.Errorf("%d of %d requests were refused", refused, asked)
	}
	m.output.await(t, "the registry wants fewer requests")
	t.Logf("%d of %d requests were refused", refused, asked)
}

// TestFindKeepsToTheRequestRate: a slow machine takes longer, which is no fault.
func TestFindKeepsToTheRequestRate(t *testing.T) {
	const repositories, tags, perSecond = 10, 4, 15
	s := startLocalACR(t, localacr.Config{Root: t.TempDir()})
	for i := range repositories * tags {
		push(t, s, fmt.Sprint("team/app", i/tags), fmt.Sprint("v", i%tags), fixture.Chart(fmt.Sprint(i)))
	}
	m := mountServer(t, s, "--request-rate", fmt.Sprint(perSecond))
	before, began := len(s.gate.requests()), time.Now()

	found := strings.Fields(shell(t, `find "$1" -name manifest.json`, m.dir))
	asked, took := len(s.gate.requests())-before, time.Since(began)
	if want := 2 * repositories * tags; len(found) != want { // by tag and by digest
		t.Errorf("find found %d manifests, want %d", len(found), want)
	}
	// A second's worth may go at once.
	if most := perSecond + int(perSecond*took.Seconds()); asked > most {
		t.Errorf("%d requests in %v, want %d at most", asked, took, most)
	}
	t.Logf("%d requests in %v", asked, took)
}
