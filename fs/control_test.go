package fs

import (
	"net/http"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// TestRefreshTakesNamesBackFromTheKernel, which may keep them for the whole
// TTL, and so shows what others changed before the TTL is over.
func TestRefreshTakesNamesBackFromTheKernel(t *testing.T) {
	w := mounted(t, Config{MetadataTTL: time.Hour})
	w.run("find $M >/dev/null; stat $R/_tags/v2 $R/_tags/v2/manifest.json")
	if err := w.client.Delete(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"}); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), registry.Ref{Repository: "models/tiny"}); err != nil {
		t.Fatal(err)
	}
	before := w.requests(http.MethodGet)
	w.run("stat $R/_tags/v2 $R/_tags/v2/manifest.json $M/models/tiny; ls $R/_tags | grep -x v2; find $M >/dev/null")
	if n := w.requests(http.MethodGet) - before; n != 0 {
		t.Errorf("%d requests for what is to be believed still", n)
	}
	if err := Refresh(w.dir); err != nil {
		t.Fatal(err)
	}
	w.fails("stat $R/_tags/v2", "No such file")
	w.fails("stat $M/models/tiny", "No such file")
	w.fails("ls $R/_tags | grep -x v2", "")
}

// TestOthersChangesShowAfterTheTTL, also to whoever looks at a name again and
// again without listing.
func TestOthersChangesShowAfterTheTTL(t *testing.T) {
	const ttl = time.Second
	w := mounted(t, Config{MetadataTTL: ttl})
	w.run("ls -l $R/_tags; stat $R/_tags/v2")
	if err := w.client.Delete(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"}); err != nil {
		t.Fatal(err)
	}
	w.run(`end=$((SECONDS+20)); while stat $R/_tags/v2 >/dev/null 2>&1; do [ $SECONDS -lt $end ] || exit 1; sleep 0.1; done`)
}
