package localacr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Records are stored in a form of their own: strings and numbers in the order
// of their fields. A list decodes a thousand of them per page, and JSON would
// be most of its time.

// record is what the database keeps under a key.
type record interface {
	pack(*packing)
	unpack(*unpacking)
}

// recordVersion begins every record. A field that is added later is read only
// from records of the version that has it.
const recordVersion = 1

var errRecord = errors.New("damaged record")

func encode(r record) []byte {
	p := packing{data: []byte{recordVersion}}
	r.pack(&p)
	return p.data
}

func decode(data []byte, r record) error {
	if len(data) == 0 || data[0] != recordVersion {
		return fmt.Errorf("%w: unknown version", errRecord)
	}
	u := unpacking{data: data[1:]}
	r.unpack(&u)
	if u.short || len(u.data) > 0 {
		return errRecord
	}
	return nil
}

// packing collects a record's fields.
type packing struct{ data []byte }

func (p *packing) number(n int64) { p.data = binary.AppendVarint(p.data, n) }

func (p *packing) text(s string) {
	p.number(int64(len(s)))
	p.data = append(p.data, s...)
}

func (p *packing) time(t time.Time) { p.number(t.UnixNano()) }

func (p *packing) attributes(a attributes) {
	flags := int64(0)
	for i, on := range []bool{a.DeleteEnabled, a.WriteEnabled, a.ReadEnabled, a.ListEnabled} {
		if on {
			flags |= 1 << i
		}
	}
	p.number(flags)
	p.text(a.QuarantineDetails)
	p.text(a.QuarantineState)
}

// unpacking takes a record's fields apart. Once it is short of data, all
// further fields are zero.
type unpacking struct {
	data  []byte
	short bool
}

func (u *unpacking) number() int64 {
	n, size := binary.Varint(u.data)
	if size <= 0 {
		u.data, u.short = nil, true
		return 0
	}
	u.data = u.data[size:]
	return n
}

func (u *unpacking) text() string {
	n := u.number()
	if n < 0 || n > int64(len(u.data)) {
		u.data, u.short = nil, true
		return ""
	}
	s := string(u.data[:n])
	u.data = u.data[n:]
	return s
}

func (u *unpacking) time() time.Time { return time.Unix(0, u.number()).UTC() }

func (u *unpacking) attributes() attributes {
	flags := u.number()
	on := func(i int) bool { return flags&(1<<i) != 0 }
	return attributes{on(0), on(1), on(2), on(3), u.text(), u.text()}
}

func (r *repositoryRecord) pack(p *packing) {
	p.time(r.Created)
	p.time(r.Updated)
	p.number(int64(r.Manifests))
	p.number(int64(r.Tags))
	p.attributes(r.Attributes)
}

func (r *repositoryRecord) unpack(u *unpacking) {
	r.Created, r.Updated = u.time(), u.time()
	r.Manifests, r.Tags = int(u.number()), int(u.number())
	r.Attributes = u.attributes()
}

func (t *tagRecord) pack(p *packing) {
	p.text(t.Digest)
	p.time(t.Created)
	p.time(t.Updated)
	p.attributes(t.Attributes)
}

func (t *tagRecord) unpack(u *unpacking) {
	t.Digest = u.text()
	t.Created, t.Updated = u.time(), u.time()
	t.Attributes = u.attributes()
}

func (m *manifestRecord) pack(p *packing) {
	p.text(m.MediaType)
	p.number(m.Size)
	p.number(m.ImageSize)
	p.time(m.Created)
	p.time(m.Updated)
	for _, s := range []string{m.Architecture, m.OS, m.ConfigMediaType, m.Subject} {
		p.text(s)
	}
	p.attributes(m.Attributes)
	p.number(int64(len(m.References)))
	for _, r := range m.References {
		p.text(r.Digest)
		p.text(r.Architecture)
		p.text(r.OS)
	}
}

func (m *manifestRecord) unpack(u *unpacking) {
	m.MediaType = u.text()
	m.Size, m.ImageSize = u.number(), u.number()
	m.Created, m.Updated = u.time(), u.time()
	m.Architecture, m.OS, m.ConfigMediaType, m.Subject = u.text(), u.text(), u.text(), u.text()
	m.Attributes = u.attributes()
	m.References = nil
	for n := u.number(); n > 0 && !u.short; n-- {
		m.References = append(m.References, reference{u.text(), u.text(), u.text()})
	}
}

func (b *blobRecord) pack(p *packing) {
	p.number(b.Size)
	p.time(b.Linked)
}

func (b *blobRecord) unpack(u *unpacking) { b.Size, b.Linked = u.number(), u.time() }
