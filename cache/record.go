package cache

import (
	"bytes"
	"hash/crc32"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// A record is one line of the index journal:
//
//	a line                                    says of a file
//	+ DIGEST SIZE INO MTIME CTIME USED CRC    it is in the store
//	u DIGEST USED CRC                         it was used
//	- DIGEST CRC                              it was removed
//
// INO, MTIME and CTIME (nanoseconds) are those of the file when it was
// verified; INO 0 says that it was never, or not yet. USED is in milliseconds
// since 1970. CRC is the CRC-32C of the line before it, in eight hex digits:
// a line cut short by a crash, a full disk or a neighbour is not a record.
type record struct {
	op     byte // '+', 'u' or '-'
	digest digest.Digest
	size   int64
	print  fingerprint
	used   int64
}

// fingerprint is how a file is known to be the one that was verified: any
// write, truncation, rename or replacement changes it.
type fingerprint struct {
	ino          uint64
	mtime, ctime int64
}

// verified reports whether the fingerprint is of a verified file at all.
func (p fingerprint) verified() bool { return p.ino != 0 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends r's line to p.
func appendRecord(p []byte, r record) []byte {
	start := len(p)
	p = append(p, r.op, ' ')
	p = append(p, r.digest...)
	field := func(v int64) {
		p = append(p, ' ')
		p = strconv.AppendInt(p, v, 10)
	}
	if r.op == '+' {
		field(r.size)
		p = append(p, ' ')
		p = strconv.AppendUint(p, r.print.ino, 10)
		field(r.print.mtime)
		field(r.print.ctime)
	}
	if r.op != '-' {
		field(r.used)
	}
	sum := crc32.Checksum(p[start:], castagnoli)
	p = append(p, ' ')
	for shift := 28; shift >= 0; shift -= 4 {
		p = append(p, "0123456789abcdef"[sum>>shift&15])
	}
	return append(p, '\n')
}

// parseRecord reads one line without its newline. Anything that appendRecord
// would not have written is refused.
func parseRecord(line []byte) (record, bool) {
	var r record
	cut := len(line) - 9
	if cut < 3 || line[cut] != ' ' || line[1] != ' ' {
		return r, false
	}
	sum, ok := parseHex32(line[cut+1:])
	if !ok || sum != crc32.Checksum(line[:cut], castagnoli) {
		return r, false
	}
	r.op = line[0]
	name, rest, _ := bytes.Cut(line[2:cut], []byte{' '})
	want := 0
	switch r.op {
	case '+':
		want = 5
	case 'u':
		want = 1
	case '-':
	default:
		return r, false
	}
	var fields [5]int64
	for i := range want {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{' '})
		if fields[i], ok = parseDecimal(field); !ok {
			return r, false
		}
	}
	if len(rest) != 0 || !validDigest(name) {
		return r, false
	}
	r.digest = digest.Digest(name)
	switch r.op {
	case '+':
		r.size, r.print = fields[0], fingerprint{uint64(fields[1]), fields[2], fields[3]}
		r.used = fields[4]
	case 'u':
		r.used = fields[0]
	}
	return r, true
}

// parseDecimal reads a number from 0 to 2^63-1 without sign. Times before 1970
// and inode numbers beyond that come out as not verified, which is safe.
func parseDecimal(p []byte) (int64, bool) {
	if len(p) == 0 || len(p) > 19 || (p[0] == '0' && len(p) > 1) {
		return 0, false
	}
	var v uint64
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return int64(v), v < 1<<63
}

func parseHex32(p []byte) (uint32, bool) {
	var v uint32
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, len(p) == 8
}

// validDigest is digest.Validate without its regular expressions, which took
// half the time of loading an index.
func validDigest(name []byte) bool {
	algorithm, hex, ok := bytes.Cut(name, []byte{':'})
	if !ok {
		return false
	}
	switch string(algorithm) {
	case "sha256":
		ok = len(hex) == 64
	case "sha384":
		ok = len(hex) == 96
	case "sha512":
		ok = len(hex) == 128
	default:
		return false
	}
	for _, c := range hex {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f')
	}
	return ok
}
