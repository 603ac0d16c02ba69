package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// mapSuffix marks the file that says which chunks of a partial are there.
const mapSuffix = ".map"

// privatePrefix marks the downloads in tmp.
const privatePrefix = "private-"

// partial is the sparse file of an unfinished download, locked by the process
// that works on it, with a map beside it:
//
//	acrfs-partial 1 BOOT SIZE     the first line
//	+ LO HI                       chunks LO to HI-1 were written
//	s OFFSET                      the data of every line before OFFSET is on the disk
//
// Lines are appended after the data. A killed process loses neither, so all of
// them count; after a reboot (another BOOT) only those count whose data had
// been synced.
//
// When another process has the file locked, this one downloads into a private
// temporary file without a map instead, which cannot be resumed. So does a
// blob that is a single range anyway.
type partial struct {
	key    string // below the cache's directory
	file   *os.File
	ranges *os.File // nil for a private one
}

// openPartial opens or creates the partial of a blob of the given size and
// returns which chunks it has.
func openPartial(d disk, name digest.Digest, size int64) (*partial, chunks, error) {
	if size > smallBlob {
		p, have, err := resumePartial(d, name, size)
		if err == nil {
			return p, have, nil
		}
		if !errors.Is(err, errBusy) {
			return nil, chunks{}, err
		}
	}
	file, err := d.createTemp(privatePrefix + "*")
	if err != nil {
		return nil, chunks{}, err
	}
	key := filepath.Join("tmp", filepath.Base(file.Name()))
	return &partial{key: key, file: file}, newChunks(size), nil
}

var errBusy = errors.New("another process works on it")

func resumePartial(d disk, name digest.Digest, size int64) (p *partial, have chunks, err error) {
	key := d.partial(name)
	path := filepath.Join(d.dir, key)
	p = &partial{key: key}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return p, have, err
	}
	if !tryLock(p.file) || !samePath(p.file, path) {
		// Locked, or finished and moved away between the open and the lock.
		return p, have, errBusy
	}
	boot := bootID()
	text, err := os.ReadFile(path + mapSuffix)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return p, have, err
	}
	m := parseMap(text, size)
	have = m.have
	if m.boot != boot {
		have = m.durable
	}
	if info, err := p.file.Stat(); err != nil {
		return p, have, err
	} else if have.count > 0 && info.Size() != size {
		have = newChunks(size) // not the file that the map is about
	}
	if m.boot != boot || have.count == 0 || m.lines > rewriteLines {
		if have.count == 0 {
			// Whatever the file holds is unknown: begin with a hole.
			if err := p.file.Truncate(0); err != nil {
				return p, have, err
			}
		}
		if err := p.file.Truncate(size); err != nil {
			return p, have, err
		}
		if err := writeMap(path+mapSuffix, boot, size, have, m.durable); err != nil {
			return p, have, err
		}
	}
	p.ranges, err = os.OpenFile(path+mapSuffix, os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil && m.torn {
		_, err = p.ranges.WriteString("\n")
	}
	return p, have, err
}

// rewriteLines is when a map is written anew on opening: about 64 KiB of it.
const rewriteLines = 4096

// removeName removes an open file, unless its name is another file's by now.
func removeName(f *os.File) {
	if samePath(f, f.Name()) {
		os.Remove(f.Name())
	}
}

func samePath(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// wrote records that chunks lo to hi-1 are in the file.
func (p *partial) wrote(lo, hi int) error {
	if p.ranges == nil {
		return nil
	}
	_, err := fmt.Fprintf(p.ranges, "+ %d %d\n", lo, hi)
	return err
}

// sync makes what was recorded so far survive a reboot.
func (p *partial) sync() error {
	if p.ranges == nil {
		return nil
	}
	before, err := p.ranges.Stat()
	if err != nil {
		return err
	}
	if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.ranges, "s %d\n", before.Size()); err != nil {
		return err
	}
	return p.ranges.Sync()
}

// remove deletes the files, but not those of another download that has the
// names now. close must still be called.
func (p *partial) remove() {
	p.moved()
	removeName(p.file)
}

// moved forgets the map after the file was moved into the store.
func (p *partial) moved() {
	if p.ranges != nil {
		removeName(p.ranges)
	}
}

// close gives the lock up.
func (p *partial) close() {
	if p.file != nil {
		p.file.Close()
	}
	if p.ranges != nil {
		p.ranges.Close()
	}
}

// mapped is what a map file says.
type mapped struct {
	boot    string
	have    chunks
	durable chunks // what survives a reboot
	lines   int
	torn    bool // the last line has no end
}

// parseMap reads a map of a blob of the given size. A map of another size or
// kind has nothing; lines that are none are skipped.
func parseMap(text []byte, size int64) mapped {
	m := mapped{have: newChunks(size), durable: newChunks(size)}
	offset := bytes.IndexByte(text, '\n') + 1
	var version, of int64
	if n, _ := fmt.Sscanf(string(text[:min(offset, 128)]), "acrfs-partial %d %s %d\n", &version, &m.boot, &of); n != 3 || version != 1 || of != size {
		m.boot = ""
		return m
	}
	type span struct{ at, lo, hi int }
	var spans []span
	synced := 0
	for rest := text[offset:]; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			m.torn = true
			break
		}
		fields := bytes.Fields(rest[:end])
		at := offset
		rest, offset = rest[end+1:], offset+end+1
		m.lines++
		var v [2]int64
		ok := len(fields) >= 2 && len(fields) <= 3
		for i := 1; ok && i < len(fields); i++ {
			v[i-1], ok = parseDecimal(fields[i])
		}
		switch {
		case !ok:
		case len(fields) == 3 && string(fields[0]) == "+" && v[0] < v[1] && v[1] <= int64(m.have.n):
			m.have.add(int(v[0]), int(v[1]))
			spans = append(spans, span{at, int(v[0]), int(v[1])})
		case len(fields) == 2 && string(fields[0]) == "s" && v[0] <= int64(at):
			synced = max(synced, int(v[0]))
		}
	}
	for _, s := range spans {
		if s.at < synced {
			m.durable.add(s.lo, s.hi)
		}
	}
	return m
}

// writeMap replaces a map by one that says the same in few lines.
func writeMap(path, boot string, size int64, have, durable chunks) error {
	var text strings.Builder
	fmt.Fprintf(&text, "acrfs-partial 1 %s %d\n", boot, size)
	list := func(set *chunks) {
		for lo := set.next(0); lo < set.n; {
			hi := set.gap(lo)
			fmt.Fprintf(&text, "+ %d %d\n", lo, hi)
			lo = set.next(hi)
		}
	}
	if have.count > 0 {
		list(&durable)
		fmt.Fprintf(&text, "s %d\n", text.Len())
		list(&have)
	}
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, text.String())
	if err == nil && durable.count > 0 {
		err = file.Sync() // or the reboot would take the old one along
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// bootID tells this boot of the machine from others. Where it cannot be read
// every start counts as a reboot.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(text)); err == nil && id != "" && !strings.ContainsAny(id, " \n\t") {
		return id
	}
	return fmt.Sprintf("unknown-%d-%p", os.Getpid(), &text)
}
