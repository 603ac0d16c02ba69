package fs

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

func TestCachedContentIsReadByDigestWithoutTheRegistry(t *testing.T) {
	w := mounted(t, Config{MetadataTTL: 100 * time.Millisecond})
	config, err := os.ReadFile(w.path("library/hello-world/docs/_tags/latest/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(config)
	manifest := w.run("getfattr --absolute-names --only-values -n user.acr.digest $R/docs/_tags/latest")
	w.stop()
	time.Sleep(200 * time.Millisecond) // nothing that was listed is believed any more

	for _, path := range []string{"_blobs/" + d.String(), "_blobs/sha256-" + d.Encoded(), "_manifests/" + manifest + "/config.json"} {
		got, err := os.ReadFile(w.path("library/hello-world/docs", path))
		if err != nil || string(got) != string(config) {
			t.Errorf("%s: %v", path, err)
		}
	}
	w.fails("ls $R/docs/_tags", "Input/output error")
	w.fails("cat $R/docs/_blobs/sha256:"+digest.FromString("nowhere").Encoded(), "Input/output error")

	began := time.Now()
	w.fails("ls $R/_tags; ls $R/_manifests; ls $M", "Input/output error")
	if took := time.Since(began); took > 4*outageMemory {
		t.Errorf("three listings of a dead registry took %v", took)
	}
	w.run("df $R")
}

// TestOneBrokenItemIsNoOutage: anybody may push what cannot be used, and nobody else
// must go without an answer for it.
func TestOneBrokenItemIsNoOutage(t *testing.T) {
	for name, err := range map[string]error{
		"an answer that cannot be used": &registry.Error{Op: "get manifest a", Kind: registry.ErrUnavailable},
		"a fault":                       &registry.Error{Op: "get manifest a", Status: 500, Kind: registry.ErrUnavailable},
	} {
		var o outage
		asked := 0
		for range 2 {
			if got := o.ask(func() error { asked++; return err }); got != err {
				t.Errorf("%s: got %v, want %v", name, got, err)
			}
		}
		if asked != 2 {
			t.Errorf("%s: asked %d times, want 2", name, asked)
		}
	}
}

// TestSilenceIsRememberedForAllQuestions, and what is answered from memory does not
// pass for the question that was asked.
func TestSilenceIsRememberedForAllQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		silence := &registry.Error{Op: "list repositories", Message: "no answer from host", Kind: registry.ErrTimeout, Silent: true}
		if err := o.ask(func() error { return silence }); err != error(silence) {
			t.Errorf("got %v, want %v", err, silence)
		}
		err := o.ask(func() error { t.Error("asked"); return nil })
		if !errors.Is(err, registry.ErrTimeout) || !strings.HasPrefix(err.Error(), "not asked, ") || !strings.HasSuffix(err.Error(), silence.Error()) {
			t.Errorf("got %v, want that it was not asked, and why", err)
		}
		time.Sleep(outageMemory)
		if err := o.ask(func() error { return nil }); err != nil {
			t.Errorf("after %v: %v", outageMemory, err)
		}
	})
}
