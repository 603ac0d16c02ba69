package integration

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// Each repository of the tree has this many tags on this many manifests, which
// no other repository has.
const (
	treeTags      = 20
	treeManifests = 10
)

// toTags and intoAll are find down to the directories of tags and manifests,
// which are four levels deep, and into them.
var (
	toTags  = []string{"find", ".", "-maxdepth", "4"}
	intoAll = []string{"find", "."}
)

// BenchmarkTree walks a registry of many repositories with find.
func BenchmarkTree(b *testing.B) {
	repositories := full(2_000, 100)
	s := newLocalACR(b)
	each(b, repositories, func(i int) error {
		return s.seed().images(fmt.Sprintf("team%02d/app%04d", i%20, i), treeTags, treeManifests)
	})
	m := mountServer(b, s, "--log-level", "warn", "--metadata-ttl", "1h", "--cache-size", "8GiB")
	b.Run("Cold", func(b *testing.B) { treeCold(b, s, repositories) })
	b.Run("Into", func(b *testing.B) { treeInto(b, m, repositories) })
	b.Run("Warm", func(b *testing.B) { treeWarm(b, m) })
}

// BenchmarkTreeFarAway is the cold walk where each request waits 30 ms.
func BenchmarkTreeFarAway(b *testing.B) {
	repositories := full(200, 20)
	root := seedLocalACR(b, func(s seeder) {
		each(b, repositories, func(i int) error { return s.images(fmt.Sprintf("team/app%04d", i), treeTags, treeManifests) })
	})
	s := startLocalACR(b, localacr.Config{Root: root, Latency: 30 * time.Millisecond})
	walk := walkAgainstCurl(b, s)
	report(b, "tree-curl-far", "", ratio(walk.acrfs, walk.curl), "%s against %s for %d pages", seconds(walk.acrfs), seconds(walk.curl), walk.pages)
}

// treeCold walks down to the tags with nothing known.
func treeCold(b *testing.B, s *server, repositories int) {
	walk := walkAgainstCurl(b, s)
	// Once for a mount and not for each repository: a token, say.
	once := walk.catalog + 2
	report(b, "tree-exchanges", "", float64(walk.exchanges-once)/float64(repositories),
		"%d for %d repositories, %d of them tokens, and %d for the catalog", walk.exchanges, repositories, walk.tokens, walk.catalog)
	report(b, "tree-curl", "", ratio(walk.acrfs, walk.curl), "%s against %s for %d pages", seconds(walk.acrfs), seconds(walk.curl), walk.pages)
}

// coldWalk is what a walk down to the tags took.
type coldWalk struct {
	acrfs, curl                       time.Duration
	exchanges, tokens, catalog, pages int
}

// walkAgainstCurl walks in a fresh mount against curl, which gets the same
// pages one after another over one connection, without asking for tokens.
func walkAgainstCurl(b *testing.B, s *server) (walk coldWalk) {
	var pages []string // of the listings, as acrfs asked for them
	acrfs := side{"acrfs", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "warn", "--metadata-ttl", "1h")
		s.gate.forget()
		return func() error { return inMount(m, toTags...) }, func() {
			requests := s.gate.requests()
			walk, pages = coldWalk{exchanges: len(requests)}, nil
			for _, r := range requests {
				switch {
				case strings.HasPrefix(r.Path, "/oauth2/"):
					walk.tokens++
				case isListing(r.Path, "catalog"):
					walk.catalog++
					pages = append(pages, r.Path+"?"+r.Query)
				case isPage(r):
					pages = append(pages, r.Path+"?"+r.Query)
				}
			}
			walk.pages = len(pages)
			m.unmount()
		}
	}}
	list := filepath.Join(openDir(b), "pages")
	curl := side{"curl", func() (func() error, func()) {
		var config strings.Builder
		config.WriteString("silent\nshow-error\nfail\ngloboff\nuser = \"bench:bench\"\n")
		for _, page := range pages {
			fmt.Fprintf(&config, "url = \"%s%s\"\n", s.url, page)
		}
		if err := os.WriteFile(list, []byte(config.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		return func() error { return execute("", "curl", "--config", list) }, func() {}
	}}
	took := duel(b, 2, acrfs, curl)
	walk.acrfs, walk.curl = took[0], took[1]
	return walk
}

// treeInto goes on into all of the directories of tags and manifests, in a
// mount that has walked down to them.
func treeInto(b *testing.B, m *mount, repositories int) {
	if err := inMount(m, toTags...); err != nil {
		b.Fatal(err)
	}
	var now, peak atomic.Int64
	lift := m.server.gate.add(
		func(*http.Request) bool { return true },
		func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			n := now.Add(1)
			defer now.Add(-1)
			for {
				if most := peak.Load(); n <= most || peak.CompareAndSwap(most, n) {
					break
				}
			}
			next.ServeHTTP(w, r)
		})
	defer lift()
	m.server.gate.forget()
	for b.Loop() { // what follows is warm: once is all there is
		took := timed(b, "find", func() error { return inMount(m, intoAll...) })
		manifests := repositories * treeManifests
		if requests := len(m.server.gate.requests()); requests > 0 {
			tokens := m.server.gate.count(func(r *record) bool { return strings.HasPrefix(r.Path, "/oauth2/") })
			report(b, "tree-into", "", float64(requests-tokens)/float64(manifests),
				"%d exchanges for %d manifests, and %d tokens, at most %d at once, %s", requests-tokens, manifests, tokens, peak.Load(), seconds(took))
			m.server.gate.forget()
		}
	}
}

// treeWarm walks again, with everything known, against a copy of the tree on
// disk that is as warm.
func treeWarm(b *testing.B, m *mount) {
	for _, line := range [][]string{toTags, intoAll} {
		if err := inMount(m, line...); err != nil {
			b.Fatal(err)
		}
	}
	copied := openDir(b)
	entries := copyNames(b, m.dir, copied)
	for _, row := range []struct {
		key  string
		line []string
	}{{"tree-warm", toTags}, {"tree-warm-into", intoAll}} {
		b.Run(row.key, func(b *testing.B) {
			walk := func(name, dir string) side {
				return side{name, func() (func() error, func()) {
					return func() error {
						return execute("", "sh", append([]string{"-c", `cd "$0" && exec "$@"`, dir}, row.line...)...)
					}, func() {}
				}}
			}
			took := duel(b, 3, walk("acrfs", m.dir), walk("disk", copied))
			report(b, row.key, "", ratio(took[0], took[1]), "%s against %s, of %d entries in all", seconds(took[0]), seconds(took[1]), entries)
		})
	}
}

// copyNames makes directories and empty files with the names of those below
// from, and returns how many.
func copyNames(b *testing.B, from, to string) (entries int) {
	b.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		entries++
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, rel), 0o755)
		}
		return os.WriteFile(filepath.Join(to, rel), nil, 0o644)
	})
	if err != nil {
		b.Fatal(err)
	}
	return entries
}
