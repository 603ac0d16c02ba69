package integration

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
)

// The table at the end of a run of the benchmarks: what acrfs takes against
// what a program takes that people would use instead, on the same server, the
// same blobs and the same machine, in the same run. A ratio is the peer's time
// divided by ours, so that more is better, and means the same on every
// machine; what is counted (exchanges, bytes, memory) has a limit instead.
//
// Every benchmark takes its sides in turns, several times, and compares the
// medians. One row alone is `go test -run '^$' -bench NAME -benchtime 1x`.

// goal is a row of the table: what is done, and what is to be reached.
type goal struct {
	what    string
	against string
	reach   float64
	unit    string // "x": a ratio to reach; any other: an amount not to exceed
	digits  int
}

// goals is the table, in its order. The keys of figures are theirs.
var goals = []struct {
	key string
	goal
}{
	{"cold-crane", goal{"cold `cat` of a blob: downloaded, verified, cached", "`crane blob` into a file", 1, "x", 2}},
	{"cold-rclone", goal{"the same", "`rclone mount`, full cache, 4 streams", 1.5, "x", 2}},
	{"cold-rclone-sum", goal{"the same", "`sha256sum` there, since rclone checks nothing", 1.5, "x", 2}},
	{"larger-crane", goal{"the same of a blob larger than the cache", "`crane blob` into a file", 0.75, "x", 2}},
	{"slow-crane", goal{"the same at 30 ms a request, 25 MiB/s a connection", "`crane blob` into a file", 6, "x", 2}},
	{"larger-slow-crane", goal{"the same of a blob larger than the cache", "`crane blob` into a file", 3, "x", 2}},
	{"images-crane", goal{"`cp -r` of 16 cold images of 30 layers at 30 ms", "`crane pull`, one after another", 2, "x", 2}},
	{"middle-exchanges", goal{"first 4 KiB from the middle of a cold 10 GiB blob", "a ranged GET by curl", 2, "exchanges", 0}},
	{"middle-bytes", goal{"the same", "moved before the reader has them", 1024, "KiB", 0}},
	{"warm-remount", goal{"warm `cat`, first open after a remount", "`cat` of the cache's file", 0.95, "x", 2}},
	{"warm-again", goal{"warm `cat`, opened again", "`cat` of the cache's file", 0.95, "x", 2}},
	{"warm-random", goal{"warm random 4 KiB", "reads of the cache's file", 0.9, "x", 2}},
	{"warm-daemon", goal{"warm `cat` without passthrough, after a remount", "`cat` of the cache's file", 0.5, "x", 2}},
	{"warm-daemon-again", goal{"the same, opened again", "`cat` of the cache's file", 0.5, "x", 2}},
	{"tags-ls", goal{"`ls -l` of 10,000 tags, cold", "pages + 2", 12, "exchanges", 0}},
	{"tags-find", goal{"`find` over a repository of 10,000 tags, cold", "pages + 2", 12, "exchanges", 0}},
	{"tree-exchanges", goal{"`find` to the tags and manifests of 2,000 × 20, cold", "repositories, beside the catalog and 2", 2, "exchanges each", 2}},
	{"tree-curl", goal{"the same, wall time", "the same pages by curl in sequence", 1, "x", 2}},
	{"tree-curl-far", goal{"`find` to the tags and manifests of 200 × 20 at 30 ms, cold", "the same pages by curl in sequence", 4, "x", 2}},
	{"tree-into", goal{"`find` into all of 2,000 × 20", "distinct manifests", 1.01, "exchanges each", 2}},
	{"tree-warm", goal{"the same down to the tags, warm", "`find` over the same tree on disk", 0.3, "x", 2}},
	{"tree-warm-into", goal{"the same into all of them, warm", "`find` over the same tree on disk", 0.15, "x", 2}},
	{"memory-stream", goal{"peak memory of the daemon streaming 10 GiB", "", 128, "MiB", 0}},
	{"memory-ls", goal{"peak memory after `ls` of 200,000 tags", "", 256, "MiB", 0}},
	{"memory-ls-l", goal{"peak memory after `ls -l` of 200,000 tags", "", 512, "MiB", 0}},
	{"start", goal{"start with 100,000 files in the cache", "start with an empty one", 1, "s more", 2}},
}

// row is a goal with what was measured.
type row struct {
	key     string
	variant string // which server, when a goal is measured on several
	figure  float64
	raw     string
	reach   float64 // 0: the goal's own
	absent  string  // why it could not be measured
}

// table is what was measured in this run.
var table struct {
	mu   sync.Mutex // guards rows
	rows []row
}

// report puts a figure into the table and among b's metrics. raw says what it
// was made of, and from which size where that is not the goal's.
func report(b *testing.B, key, variant string, figure float64, raw string, args ...any) {
	b.Helper()
	add(b, row{key: key, variant: variant, figure: figure, raw: fmt.Sprintf(raw, args...)})
	b.ReportMetric(figure, key)
	b.ReportMetric(0, "ns/op") // of all rounds, with what they prepare: no figure
}

// reportWithin is report where the limit depends on the run.
func reportWithin(b *testing.B, key, variant string, figure, limit float64, raw string, args ...any) {
	b.Helper()
	report(b, key, variant, figure, raw, args...)
	table.mu.Lock()
	defer table.mu.Unlock()
	table.rows[len(table.rows)-1].reach = limit
}

// absent puts the reason into the table why there is no figure.
func absent(b *testing.B, key, variant, why string) {
	b.Helper()
	add(b, row{key: key, variant: variant, absent: why})
}

func add(b *testing.B, r row) {
	b.Helper()
	if rank(r.key) < 0 {
		b.Fatalf("%q is no row of the table", r.key)
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	table.rows = append(table.rows, r)
}

// rank is a goal's place.
func rank(key string) int {
	return slices.IndexFunc(goals, func(g struct {
		key string
		goal
	}) bool {
		return g.key == key
	})
}

// printTable prints the table of this run, if it has one.
func printTable(w io.Writer) {
	table.mu.Lock()
	defer table.mu.Unlock()
	if len(table.rows) == 0 {
		return
	}
	slices.SortStableFunc(table.rows, func(x, y row) int { return cmp.Compare(rank(x.key), rank(y.key)) })
	fmt.Fprintf(w, "\n%s\n\n", machine())
	fmt.Fprintln(w, "| what | against | figure | to reach | | measured |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, r := range table.rows {
		fmt.Fprintln(w, r.line(goals[rank(r.key)].goal))
	}
	fmt.Fprintln(w)
}

func (r row) line(g goal) string {
	what := g.what
	if r.reach != 0 {
		g.reach = r.reach
	}
	if r.variant != "" {
		what += " (" + r.variant + ")"
	}
	sign := "≤ "
	if g.unit == "x" {
		sign = "≥ "
	}
	reach := sign + g.amount(g.reach)
	if r.absent != "" {
		return fmt.Sprintf("| %s | %s | | %s | | %s |", what, g.against, reach, r.absent)
	}
	verdict := "missed"
	if g.unit == "x" && r.figure >= g.reach || g.unit != "x" && r.figure <= g.reach {
		verdict = "ok"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", what, g.against, g.amount(r.figure), reach, verdict, r.raw)
}

// amount is a figure in the goal's unit.
func (g goal) amount(v float64) string {
	if g.unit == "x" {
		return fmt.Sprintf("%.*f×", g.digits, v)
	}
	return fmt.Sprintf("%.*f %s", g.digits, v, g.unit)
}
