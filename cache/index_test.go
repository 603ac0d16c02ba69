package cache

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestRecordsSurviveTheirLine(t *testing.T) {
	d := digest.FromString("x")
	for _, r := range []record{
		{op: '+', digest: d, size: 1 << 40, print: fingerprint{12345, 1e18, 1e18 + 1}, used: 1e12},
		{op: '+', digest: digest.SHA512.FromString("x")},
		{op: 'u', digest: d, used: 7},
		{op: '-', digest: digest.SHA384.FromString("x")},
	} {
		line := appendRecord(nil, r)
		got, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || got != r {
			t.Errorf("%q is %+v, %v, want %+v", line, got, ok, r)
		}
		if len(line) > maxLine {
			t.Errorf("a line of %d bytes", len(line))
		}
		for cut := range line[:len(line)-1] {
			if _, ok := parseRecord(line[:cut]); ok {
				t.Errorf("cut after %d bytes it is still a record", cut)
			}
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	d := digest.FromString("x")
	for _, r := range []record{{op: '+', digest: d, size: 1, print: fingerprint{2, 3, 4}, used: 5}, {op: 'u', digest: d, used: 1}, {op: '-', digest: d}} {
		f.Add(bytes.TrimSuffix(appendRecord(nil, r), []byte("\n")))
	}
	f.Add([]byte("+ sha256:.. 1 2 3 4 5 00000000"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := parseRecord(line)
		if !ok {
			return
		}
		if err := r.digest.Validate(); err != nil {
			t.Fatalf("digest %q: %v", r.digest, err)
		}
		if again := appendRecord(nil, r); string(again) != string(line)+"\n" {
			t.Fatalf("%q is written as %q", line, again)
		}
	})
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte("acrfs-partial 1 boot 1048576\n+ 0 4\ns 29\n+ 5 6\n"), int64(1<<20))
	f.Add([]byte("acrfs-partial 1 boot 100\n+ 0 99999999999\ns -1\n+ 1"), int64(100))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		if size < 0 || size > 1<<30 {
			return
		}
		m := parseMap(text, size)
		if problem := m.have.check() + m.durable.check(); problem != "" {
			t.Fatal(problem)
		}
		for i := range m.have.n {
			if m.durable.has(i) && !m.have.has(i) {
				t.Fatalf("chunk %d is durable and not there", i)
			}
		}
		// Written anew it says the same.
		path := filepath.Join(t.TempDir(), "map")
		if err := writeMap(path, "boot", size, m.have, m.durable); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := parseMap(again, size)
		if diff := cmp.Diff(m.have.words, n.have.words) + cmp.Diff(m.durable.words, n.durable.words); diff != "" {
			t.Fatal(diff)
		}
	})
}

// filled makes a cache with a few stored blobs and closes it.
func filled(t *testing.T, dir string) [][]byte {
	t.Helper()
	c := open(t, Config{Dir: dir})
	var blobs [][]byte
	for i := range 5 {
		data := bytesOf(byte(80+i), 1<<20)
		b := c.Blob(digest.FromBytes(data), int64(len(data)), newFake(data))
		fetch(t, b)
		b.Close()
		blobs = append(blobs, data)
	}
	shut(t, c)
	return blobs
}

// TestDamagedIndex: whatever happens to it, the cache opens, counts what is in
// the store and serves it; what it no longer vouches for is hashed first.
func TestDamagedIndex(t *testing.T) {
	for _, test := range []struct {
		name     string
		damage   func(path string, text []byte) error
		rechecks int64
	}{
		{"missing", func(path string, _ []byte) error { return os.Remove(path) }, 5},
		{"empty", func(path string, _ []byte) error { return os.Truncate(path, 0) }, 5},
		{"garbage", func(path string, _ []byte) error { return os.WriteFile(path, bytesOf(1, 1<<20), 0o600) }, 5},
		{"garbage behind", func(path string, text []byte) error {
			return os.WriteFile(path, append(text, bytesOf(1, 1000)...), 0o600)
		}, 0},
		{"one long line", func(path string, text []byte) error {
			return os.WriteFile(path, append(bytes.Repeat([]byte("x"), 5<<20), text...), 0o600)
		}, 1},
		{"torn", func(path string, text []byte) error { return os.WriteFile(path, text[:len(text)-20], 0o600) }, 1},
		{"much history", func(path string, text []byte) error {
			return os.WriteFile(path, bytes.Repeat(text, 300), 0o600)
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			blobs := filled(t, dir)
			path := filepath.Join(dir, "index")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.damage(path, text); err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				c := open(t, Config{Dir: dir})
				if s := c.Stats(); s.Files != 5 || s.Stored != 5<<20 {
					t.Errorf("round %d: stats %+v", round, s)
				}
				for _, data := range blobs {
					b := c.Blob(digest.FromBytes(data), int64(len(data)), nil)
					wantAll(t, b, data)
					b.Close()
				}
				settle(t, c)
				// The first line of a file goes with the garbage before it.
				if s := c.Stats(); s.Rechecks > test.rechecks*int64(1-round) {
					t.Errorf("round %d: %d files were hashed again, want %d", round, s.Rechecks, test.rechecks*int64(1-round))
				}
				shut(t, c)
			}
			if info, err := os.Stat(path); err != nil || info.Size() > 10000 {
				t.Errorf("the index has %d bytes for 5 files", info.Size())
			}
		})
	}
}

// TestJournalsConverge: two of them on one file see the same.
func TestJournalsConverge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	var ledgers [2]*ledger
	var journals [2]*journal
	for i := range journals {
		ledgers[i] = newLedger(1 << 40)
		j, _, _, err := openJournal(path, ledgers[i].apply, open(t, Config{}).log)
		if err != nil {
			t.Fatal(err)
		}
		go j.run()
		journals[i] = j
	}
	for i := range 200 {
		j := journals[i%2]
		d := digest.FromString(fmt.Sprint(i % 37))
		op := byte('+')
		if i%5 == 0 {
			op = '-'
		}
		r := record{op: op, digest: d}
		if op == '+' {
			r.size, r.used = int64(i), int64(i)
		}
		j.add(r)
		j.use(d, int64(i))
	}
	for _, j := range journals {
		j.refresh()
	}
	for _, j := range journals {
		j.refresh()
	}
	for i, j := range journals {
		j.close()
		if problem := ledgers[i].check(); problem != "" {
			t.Error(problem)
		}
	}
	if a, b := ledgers[0], ledgers[1]; len(a.items) != len(b.items) || a.stored != b.stored || len(a.items) == 0 {
		t.Errorf("%d items and %d bytes, and %d and %d", len(a.items), a.stored, len(b.items), b.stored)
	}
}

// TestRecordAfterATornLineCounts, also when another process has torn it, on a
// disk that was full for a moment.
func TestRecordAfterATornLineCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	l := newLedger(1 << 40)
	j, _, _, err := openJournal(path, l.apply, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go j.run()
	defer j.close()
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	line := appendRecord(nil, record{op: '+', digest: digest.FromString("torn"), size: 1})
	if _, err := other.Write(line[:20]); err != nil {
		t.Fatal(err)
	}
	j.refresh()
	d := digest.FromString("whole")
	j.add(record{op: '+', digest: d, size: 2})
	if _, _, ok := l.lookup(d); !ok {
		t.Error("the next record is lost with it")
	}
}

// TestIndexWrittenByWhoCameBetweenIsRead: a start that is alone gives one lock up
// before it has the other.
func TestIndexWrittenByWhoCameBetweenIsRead(t *testing.T) {
	c := &Cache{cfg: Config{Dir: filepath.Join(t.TempDir(), "cache"), Size: 1 << 30}, log: slog.New(slog.DiscardHandler)}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	defer c.disk.lock.Close()
	defer func() { c.index.file.Close() }()
	d := digest.FromString("x")
	if _, err := writeJournal(c.disk.index(), []record{{op: '+', digest: d, size: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := c.share(); err != nil {
		t.Fatal(err)
	}
	c.index.read()
	if _, _, ok := c.ledger.lookup(d); !ok {
		t.Error("the index that nobody else has is read on")
	}
}

func TestDefaultSize(t *testing.T) {
	dir := t.TempDir()
	size, err := DefaultSize(filepath.Join(dir, "not", "there"))
	if err != nil || size <= 0 || size > 10<<30 {
		t.Errorf("%d, %v", size, err)
	}
	c, err := Open(Config{Dir: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, c)
	if got := c.Stats().Limit; got <= 0 || got > 10<<30 {
		t.Errorf("limit %d", got)
	}
}

// TestLongHistoryIsCompactedWhileOpen, but not while another process has the
// index open.
func TestLongHistoryIsCompactedWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		cfg := Config{Dir: dir, Size: 1 << 30}
		c, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		other, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		data := []byte("kept")
		if err := c.Put(digest.FromBytes(data), data); err != nil {
			t.Fatal(err)
		}
		gone := record{op: '+', digest: digest.FromString("gone"), size: 1}
		many := make([]record, manyLines+10)
		for i := range many {
			many[i] = gone
			many[i].op = "+-"[i%2]
		}
		c.index.add(many...)
		size := func() int64 {
			info, err := os.Stat(filepath.Join(dir, "index"))
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		before := size()
		time.Sleep(2 * flushEvery)
		synctest.Wait()
		if size() < before {
			t.Error("rewritten under another process")
		}
		shut(t, other)
		time.Sleep(retryEvery + 2*flushEvery)
		synctest.Wait()
		if n := size(); n > 1000 {
			t.Errorf("the index has %d bytes", n)
		}
		more := []byte("later")
		if err := c.Put(digest.FromBytes(more), more); err != nil {
			t.Fatal(err)
		}
		shut(t, c)
		if c, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Files != 2 || s.Stored != int64(len(data)+len(more)) {
			t.Errorf("stats %+v", s)
		}
		shut(t, c)
	})
}
