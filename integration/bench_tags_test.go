package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// manyTags is how many a large repository has.
func manyTags() int { return full(10_000, 1_100) }

// BenchmarkTags lists a large repository of which nothing is known yet, as
// people do. What is counted is everything that is asked from the moment the
// mount is there, tokens included. A plain OCI registry has no list of
// manifests: what _manifests shows there costs a request per tag, and find
// walks _tags alone.
func BenchmarkTags(b *testing.B) {
	for _, open := range []func(testing.TB) *server{newLocalACR, newDistribution} {
		s := open(b)
		b.Run(s.name, func(b *testing.B) {
			s.seed().tags(b, "many", manyTags(), fixture.Chart("1"))
			b.Run("ls", func(b *testing.B) { countTags(b, s, "tags-ls", "ls", "-l", "many/_tags") })
			b.Run("find", func(b *testing.B) {
				if s.acr {
					countTags(b, s, "tags-find", "find", "many", "-maxdepth", "2")
				} else {
					countTags(b, s, "tags-find", "find", "many/_tags", "-maxdepth", "1")
				}
			})
		})
	}
}

func countTags(b *testing.B, s *server, key string, line ...string) {
	var exchanges, pages int
	acrfs := side{"acrfs", func() (func() error, func()) {
		m := mountServer(b, s, "--log-level", "warn", "--metadata-ttl", "10m")
		s.gate.forget()
		return func() error { return inMount(m, line...) }, func() {
			exchanges = max(exchanges, len(s.gate.requests()))
			pages = s.gate.count(isPage)
			if pages == 0 {
				b.Fatalf("no pages:\n%s", s.gate.describe())
			}
			m.unmount()
		}
	}}
	took := duel(b, full(3, 1), acrfs)
	reportWithin(b, key, s.name, float64(exchanges), float64(pages+2), "%d pages for %d tags, %s", pages, manyTags(), seconds(took[0]))
}

// inMount runs a program in the mount's root.
func inMount(m *mount, line ...string) error {
	return execute("", "sh", append([]string{"-c", `cd "$0" && exec "$@"`, m.dir}, line...)...)
}

// isPage tells whether a request is for a page of tags or of manifests.
func isPage(r *record) bool { return isListing(r.Path, "tags") || isListing(r.Path, "manifests") }

// BenchmarkMemoryOfTags lists an enormous repository.
func BenchmarkMemoryOfTags(b *testing.B) {
	tags := full(200_000, 20_000)
	s := newLocalACR(b)
	s.seed().tags(b, "enormous", tags, fixture.Chart("1"))
	for _, row := range []struct{ key, flags string }{{"memory-ls", "-U"}, {"memory-ls-l", "-l"}} {
		b.Run(row.key, func(b *testing.B) {
			for b.Loop() {
				m := mountServer(b, s, "--log-level", "warn", "--metadata-ttl", "10m")
				began := time.Now()
				if err := execute("", "ls", row.flags, m.path("enormous/_tags")); err != nil {
					b.Fatal(err)
				}
				report(b, row.key, "", m.peakMiB(), "%s", fmt.Sprintf("%d tags in %s", tags, seconds(time.Since(began))))
				m.unmount()
			}
		})
	}
}
