package fs

import (
	"strings"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// pass has time pass for what is known of a repository and for what was done to
// it.
func (r *repository) pass(d time.Duration) {
	age(r.tags, d)
	age(r.manifests, d)
	for _, ref := range r.t.points.Keys() {
		learned, _ := r.t.points.Peek(ref)
		learned.at = learned.at.Add(-d)
		r.t.points.Add(ref, learned)
	}
	for _, c := range []*changes{&r.changedTags, &r.changedManifests, &r.t.changedRepositories, &r.t.changedFolders} {
		c.mu.Lock()
		for key, ch := range c.items {
			ch.at = ch.at.Add(-d)
			c.items[key] = ch
		}
		c.last = c.last.Add(-d)
		c.mu.Unlock()
	}
	r.manifestDeleted.Store(max(0, r.manifestDeleted.Load()-int64(d)))
}

const overTheLag = lag + time.Second

func TestDeletedTagStaysAwayInAnOutage(t *testing.T) {
	w := mounted(t, Config{Writable: &Writable{}, StaleIfError: time.Hour})
	w.run("ls $R/_tags && rm -r $R/_tags/latest && ! ls $R/_tags | grep -x latest")
	w.stop()
	w.m.tree.repository(helloWorld).pass(overTheLag)
	if out := w.run("ls $R/_tags"); strings.Contains(out, "latest") || !strings.Contains(out, "v2") {
		t.Errorf("the tags are %q, want v2 and not latest", out)
	}
}

// TestDeletedTagStaysAwayFromWhatWasLearnedBefore: from all of it, whichever part
// the registry was asked for again.
func TestDeletedTagStaysAwayFromWhatWasLearnedBefore(t *testing.T) {
	const repo = "library/hello-world/docs"
	for name, c := range map[string]struct{ learn, remove string }{
		"by name":           {"stat $R/docs/_tags/moving", "rm -r $R/docs/_tags/moving"},
		"with its manifest": {"stat $R/docs/_tags/moving", "rm -r $D"},
		"of its manifest":   {"ls $R/docs/_manifests", "rm -r $R/docs/_tags/moving"},
		"of it by digest":   {"stat $D", "rm -r $R/docs/_tags/moving"},
	} {
		t.Run(name, func(t *testing.T) {
			w := mounted(t, Config{Writable: &Writable{}, MetadataTTL: time.Hour})
			raw, desc, err := w.client.Manifest(t.Context(), registry.Ref{Repository: repo, Tag: "latest"})
			if err != nil {
				t.Fatal(err)
			}
			raw = []byte(strings.TrimSuffix(strings.TrimSpace(string(raw)), "}") + `,"annotations":{"n":"1"}}`)
			w.push(repo, "moving", desc.MediaType, raw)
			image, err := w.client.Properties(t.Context(), registry.Ref{Repository: repo, Tag: "moving"})
			if err != nil {
				t.Fatal(err)
			}
			dir := "D=$R/docs/_manifests/" + image.Digest.String() + "; "
			w.run(dir + c.learn)
			w.run(dir + c.remove)
			r := w.m.tree.repository(repo)
			r.pass(overTheLag)
			r.tags.drop() // as room is made for others
			w.run("! ls $R/docs/_tags | grep -x moving")
			w.fails("stat $R/docs/_tags/moving", "No such file")
			if out, _ := w.sh(dir + "getfattr --absolute-names --only-values -n user.acr.tags $D"); strings.Contains(out, "moving") {
				t.Errorf("the manifest has the tags %q", out)
			}
		})
	}
}
