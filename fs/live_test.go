package fs

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// images are the names of what a tag's index points to.
func (w *world) images(tag string) []string {
	w.t.Helper()
	return strings.Fields(w.run("for l in $R/_tags/" + tag + "/manifests/*; do basename $(readlink $l); done"))
}

func TestImagesOfAHiddenIndexAreKept(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	images := w.images("v2")
	p, err := w.client.Properties(t.Context(), registry.Ref{Repository: helloWorld, Tag: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(registry.Ref{Repository: helloWorld, Digest: p.Digest}, noList)
	w.m.Refresh()
	w.fails("ls $R/_manifests | grep "+p.Digest.String(), "")
	for _, image := range images {
		w.fails("rm -r $R/_manifests/"+image, "Device or resource busy")
	}
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	w.run("rm -r $R/_tags/v2 $R/_tags/latest && rm -r $R/_manifests/" + images[0]) // nothing holds it now
}

func TestLockThatWasSetJustNowKeepsTheSubject(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}})
	w.fails("rm -r $R/_manifests/"+w.images("v2")[0], "busy") // what is live is known from here on
	script := `cd $R/_manifests; for m in *; do getfattr --only-values -n user.oci.subject $m/manifest.json >/dev/null 2>&1 && echo $m && break; done`
	referrer := w.run(script)
	subject := w.run("getfattr --absolute-names --only-values -n user.oci.subject $R/_manifests/" + referrer + "/manifest.json")
	w.run("setfattr -n user.acr.can_delete -v false $R/_manifests/" + referrer)
	w.fails("rm -r $R/_manifests/"+subject, "busy")
	if n := w.requests(http.MethodDelete); n != 0 {
		t.Errorf("%d deletions were sent", n)
	}
	if want := "referrer " + referrer + ", held by a lock"; !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	w.run("setfattr -n user.acr.can_delete -v true $R/_manifests/" + referrer + " && rm -r $R/_manifests/" + subject)
}

func TestSignatureThatWentWithItsSubjectCanStillBeRemoved(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: 50 * time.Millisecond})
	w.run("setfattr -n user.acr.can_delete -v true $R/_tags/v1")
	script := `cd $R/_manifests; for m in *; do getfattr --only-values -n user.oci.subject $m/manifest.json >/dev/null 2>&1 && echo $m && break; done`
	referrer := w.run(script)
	subject := w.run("getfattr --absolute-names --only-values -n user.oci.subject $R/_manifests/" + referrer + "/manifest.json")
	w.run("rm -r $R/_manifests/" + subject + "; sleep 0.1; ! ls $R/_manifests | grep " + referrer) // asks again, and it is not there
	deleted := w.requests(http.MethodDelete)
	w.run("sleep 0.1; rm -r $R/_manifests/" + referrer) // by whoever had seen it
	w.fails("rm -r $R/_manifests/"+referrer, "No such file")
	w.fails("ls $R/_manifests/sha256:"+strings.Repeat("0", 64), "No such file") // which never was
	if n := w.requests(http.MethodDelete); n != deleted {
		t.Errorf("%d more deletions were sent", n-deleted)
	}
}
