package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peer is where a program is that acrfs is compared with: where `make bench`
// built it, or on the PATH. "": there is none, and its rows say so.
func peer(name string) string {
	if path, err := filepath.Abs(filepath.Join("..", "bin", name)); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// side is one of those who are compared.
type side struct {
	name string

	// prepare makes everything ready for one measurement, untimed: run is
	// what is timed, done clears up.
	prepare func() (run func() error, done func())
}

// duel takes the sides in turns and returns each one's median. Each round
// begins with another one, so that nobody always runs on what another left
// behind, and with a disk that has nothing to write.
func duel(b *testing.B, rounds int, sides ...side) []time.Duration {
	b.Helper()
	took := make([][]time.Duration, len(sides))
	for b.Loop() {
		for round := range rounds {
			for i := range sides {
				i = (i + round) % len(sides)
				run, done := sides[i].prepare()
				unix.Sync()
				took[i] = append(took[i], timed(b, sides[i].name, run))
				done()
			}
		}
	}
	medians := []time.Duration{}
	for _, each := range took {
		medians = append(medians, median(each))
	}
	return medians
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

// ratio is how many times faster ours was.
func ratio(ours, theirs time.Duration) float64 { return theirs.Seconds() / ours.Seconds() }

// timed runs f and returns how long it took.
func timed(b *testing.B, what string, f func() error) time.Duration {
	b.Helper()
	began := time.Now()
	if err := f(); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	return time.Since(began)
}

// seconds is for raw figures.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }

// programLimit is how long one program may run in a benchmark.
const programLimit = 10 * time.Minute

// execute runs a program to its end, with its output in the file stdout; "" is
// nowhere. What it says on stderr is in the error.
func execute(stdout, name string, args ...string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var said output
	cmd.Stderr = &said
	if stdout != "" {
		file, err := os.Create(stdout)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		cmd.Stdout = file
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, said.tail(20))
	}
	return nil
}

// full is the goal's own size, or a small one with -short.
func full[N ~int | ~int64](size, short N) N {
	if testing.Short() {
		return short
	}
	return size
}

// haveDisk skips a benchmark that needs more room than there is, and says so
// in its rows.
func haveDisk(b *testing.B, bytes int64, keys ...string) {
	b.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &stat); err != nil {
		b.Fatal(err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < bytes {
		for _, key := range keys {
			absent(b, key, "", "too little free disk")
		}
		b.Skipf("%d MiB free in %s, and this needs %d", free>>20, os.TempDir(), bytes>>20)
	}
}
