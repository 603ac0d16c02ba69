package fs

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

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

// TestOnlyTheOwnerRefreshes: with AllowOther anybody could have the registry asked
// again and again by the credential of who mounted.
func TestOnlyTheOwnerRefreshes(t *testing.T) {
	const owner, other = 12345, 12346
	cfg, err := Config{Registry: &lateRegistry{}, Cache: newStore(t), UID: new(uint32(owner)), AllowOther: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tr := newTree(cfg)
	t.Cleanup(tr.life.close)
	for _, row := range []struct {
		uid  uint32
		want syscall.Errno
	}{{0, 0}, {uint32(os.Getuid()), 0}, {owner, 0}, {other, syscall.EPERM}} {
		before := tr.epoch.Load()
		caller := fuse.NewContext(t.Context(), &fuse.Caller{Owner: fuse.Owner{Uid: row.uid}})
		_, errno := tr.root.Ioctl(caller, nil, ioctlRefresh, 0, nil, nil)
		if forgot := tr.epoch.Load() != before; errno != row.want || forgot != (errno == 0) {
			t.Errorf("uid %d: errno %d, forgot %t; want errno %d", row.uid, errno, forgot, row.want)
		}
	}
}
