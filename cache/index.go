package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"
)

// journal is the index on disk: an append-only file of records that all
// processes with the directory open share. What it says becomes true in the
// ledger when it is read back, ours as well as theirs, so that every process
// sees the same records in the same order.
//
// One goroutine owns the file; the others ask it. The index is a hint about
// files and never trusted with their content: a record that is missing costs
// a file that is hashed again, a wrong one a file that is not there.
type journal struct {
	apply func(record)
	log   *slog.Logger
	asks  chan ask
	done  chan struct{}

	// Of the owner.
	lines   int       // read from the file
	compact func()    // called when there are most lines or more, if set
	most    int       // and set anew by compact
	retry   time.Time // but not before
	file    *os.File
	offset  int64  // how far it was read
	tail    []byte // an unfinished line at offset
	pending []byte // uses to be written with the next records
	torn    bool   // the last write was cut short
}

type ask struct {
	lines []byte // to append; none only reads what others appended
	lazy  bool   // may be written later
	reply chan struct{}
}

// flushEvery bounds how long a use stays unwritten, and how late another
// process's records are seen when nothing happens here.
const flushEvery = 5 * time.Second

// pendingUses bounds the uses that wait for that: about 100 lines.
const pendingUses = 10 << 10

// retryEvery is how often to try to compact a journal that others have open.
const retryEvery = 10 * time.Minute

// openJournal opens the journal at path, creating it, and applies what is in
// it. It reports the number of records and of lines that were none.
func openJournal(path string, apply func(record), log *slog.Logger) (j *journal, records, bad int, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, 0, err
	}
	j = &journal{
		apply: apply, log: log, file: file,
		asks: make(chan ask, 64), done: make(chan struct{}),
	}
	if records, bad, err = j.read(); err != nil {
		file.Close()
		return nil, 0, 0, err
	}
	return j, records, bad, nil
}

// reopen goes on with the file that is at path now, from offset on. Only the
// owner may call it, or whoever has not started it yet.
func (j *journal) reopen(path string, offset int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	j.file.Close()
	j.file, j.offset, j.tail, j.torn = file, offset, nil, false
	return nil
}

// run owns the journal until close.
func (j *journal) run() {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case a, ok := <-j.asks:
			if !ok {
				j.write(nil)
				j.file.Close()
				close(j.done)
				return
			}
			if a.lazy {
				if j.pending = append(j.pending, a.lines...); len(j.pending) > pendingUses {
					j.write(nil)
				}
				continue
			}
			j.write(a.lines)
			if _, _, err := j.read(); err != nil {
				j.log.Warn("cache index is unreadable", "error", err)
			}
			close(a.reply)
		case <-ticker.C:
			j.write(nil)
			j.read()
			if j.compact != nil && j.lines >= j.most && time.Now().After(j.retry) {
				j.retry = time.Now().Add(retryEvery)
				j.compact()
			}
		}
	}
}

// close writes what is pending and waits for the owner. No ask may follow.
func (j *journal) close() {
	close(j.asks)
	<-j.done
}

// add appends records and returns when they, and everything other processes
// wrote before them, are in the ledger.
func (j *journal) add(records ...record) {
	var lines []byte
	for _, r := range records {
		lines = appendRecord(lines, r)
	}
	a := ask{lines: lines, reply: make(chan struct{})}
	j.asks <- a
	<-a.reply
}

// refresh applies what other processes appended.
func (j *journal) refresh() { j.add() }

// use notes that a blob was used. A use is a matter of order only and is
// written along with the next record, or a little later.
func (j *journal) use(d digest.Digest, now int64) {
	line := appendRecord(nil, record{op: 'u', digest: d, used: now})
	select {
	case j.asks <- ask{lines: line, lazy: true}:
	default: // busy: recency is not worth a wait
	}
}

// write appends the pending uses and lines in one write, which O_APPEND keeps
// in one piece among other processes'.
func (j *journal) write(lines []byte) {
	if len(j.pending)+len(lines) == 0 {
		return
	}
	var out []byte
	// A line without an end is a write that a crash or a full disk cut short,
	// ours or another process's. An end too many is skipped.
	if j.torn || len(j.tail) > 0 {
		out = append(out, '\n')
	}
	out = append(append(out, j.pending...), lines...)
	j.pending = j.pending[:0]
	n, err := j.file.Write(out)
	j.torn = err != nil && n > 0
	if err != nil {
		// The files are there all the same; this process goes on with what it
		// knows, the next finds them unlisted.
		j.log.Warn("cache index cannot be written", "error", err)
		j.applyLines(lines)
	}
}

// read applies what was appended since the last read.
func (j *journal) read() (records, bad int, err error) {
	info, err := j.file.Stat()
	if err != nil {
		return 0, 0, err
	}
	for size := info.Size(); j.offset < size; {
		// A journal is read in pieces so that a huge one is not held at once.
		piece := make([]byte, len(j.tail)+int(min(size-j.offset, 4<<20)))
		copy(piece, j.tail)
		n, err := j.file.ReadAt(piece[len(j.tail):], j.offset)
		if n == 0 {
			if errors.Is(err, io.EOF) {
				break
			}
			return records, bad, err
		}
		j.offset += int64(n)
		piece = piece[:len(j.tail)+n]
		whole := bytes.LastIndexByte(piece, '\n') + 1
		good, wrong := j.applyLines(piece[:whole])
		j.lines += good + wrong
		records, bad = records+good, bad+wrong
		if j.tail = piece[whole:]; len(j.tail) > maxLine {
			// Not a line at all. What is left of it will be refused as well.
			j.tail, bad = nil, bad+1
		}
	}
	return records, bad, nil
}

// maxLine is more than the longest record: a sha512 digest and five numbers.
const maxLine = 512

func (j *journal) applyLines(p []byte) (records, bad int) {
	for len(p) > 0 {
		line, rest, _ := bytes.Cut(p, []byte{'\n'})
		p = rest
		if len(line) == 0 {
			continue
		}
		if r, ok := parseRecord(line); ok {
			j.apply(r)
			records++
		} else {
			bad++
		}
	}
	return records, bad
}

// writeJournal replaces the journal at path by one with these records alone,
// and returns its size.
// No other process may have it open.
func writeJournal(path string, records []record) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "index-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	defer file.Close()
	var out []byte
	for _, r := range records {
		if out = appendRecord(out, r); len(out) > 1<<20 {
			if _, err := file.Write(out); err != nil {
				return 0, err
			}
			size, out = size+int64(len(out)), out[:0]
		}
	}
	if _, err := file.Write(out); err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	return size + int64(len(out)), os.Rename(file.Name(), path)
}

// listStore finds the stored files without an index. What is found counts and
// may be evicted, and is hashed before it is used.
func listStore(dir string, found func(record)) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		algorithm := filepath.Base(filepath.Dir(filepath.Dir(path)))
		name := fmt.Sprintf("%s:%s", algorithm, e.Name())
		if !validDigest([]byte(name)) {
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			used := max(0, time.Unix(st.Atim.Unix()).UnixMilli())
			found(record{op: '+', digest: digest.Digest(name), size: st.Size, used: used})
		}
		return nil
	})
}
