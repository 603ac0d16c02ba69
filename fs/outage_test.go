package fs

import (
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
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
