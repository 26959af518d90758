package archive_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
)

// writer writes pg_dump's archives of any version, whole or with a fault.
type writer struct {
	bytes.Buffer
	format  byte // 1 custom, 3 tar
	minor   byte
	intSize int
}

type entry struct {
	id     int
	dumper bool
	kind   string
	schema string
	name   string
	file   string // tar; default: "ID.dat"
}

func (a *writer) int(v int) {
	sign := byte(0)
	if v < 0 {
		sign, v = 1, -v
	}
	a.WriteByte(sign)
	a.Write(binary.LittleEndian.AppendUint64(nil, uint64(v))[:a.intSize])
}

func (a *writer) string(s string) {
	a.int(len(s))
	a.WriteString(s)
}

func (a *writer) null() { a.int(-1) }

func (a *writer) toc(entries ...entry) {
	a.WriteString("PGDMP")
	a.Write([]byte{1, a.minor, 0, byte(a.intSize), 8, a.format})
	if a.minor >= 15 {
		a.WriteByte(0)
	} else {
		a.int(0)
	}
	for _, v := range []int{59, 59, 23, 31, 11, 126, -1} {
		a.int(v)
	}
	for _, s := range []string{"db", "17.0", "17.0"} {
		a.string(s)
	}
	a.int(len(entries))
	for _, e := range entries {
		a.entry(e)
	}
}

func (a *writer) entry(e entry) {
	a.int(e.id)
	dumper := 0
	if e.dumper {
		dumper = 1
	}
	a.int(dumper)
	a.string("1259")
	a.string("4294967295")
	a.string(e.name)
	a.string(e.kind)
	a.int(3)
	a.string("CREATE TABLE PGDMP")
	a.null()
	a.string("COPY t FROM stdin;\n")
	a.string(e.schema)
	a.null()
	if a.minor >= 14 {
		a.string("heap")
	}
	if a.minor >= 16 {
		a.int('r')
	}
	a.string("")
	a.string("false")
	a.string("12")
	a.string("345")
	a.null()
	if a.format == 3 {
		switch {
		case e.file != "":
			a.string(e.file)
		case e.dumper:
			a.string(fmt.Sprintf("%d.dat", e.id))
		default:
			a.string("")
		}
		return
	}
	a.WriteByte(3)
	a.Write(make([]byte, 8))
}

// block writes an entry's data as a custom archive has it, in chunks of some bytes.
func (a *writer) block(id int, data string, chunk int) {
	a.WriteByte(1)
	a.int(id)
	for len(data) > 0 {
		n := min(chunk, len(data))
		a.string(data[:n])
		data = data[n:]
	}
	a.int(0)
}

// blobs writes a block of large objects.
func (a *writer) blobs(id int, objects ...string) {
	a.WriteByte(3)
	a.int(id)
	for i, o := range objects {
		a.int(i - len(objects)/2*2 + 100 - 200*(i%2)) // OIDs beyond 2^31 look negative
		if o != "" {
			a.string(o)
		}
		a.int(0)
	}
	a.int(0)
}

// tarFile collects members.
type tarFile struct{ bytes.Buffer }

type header struct {
	name, size, magic string
	kind              byte
	sum               int // added to the right one
}

func (t *tarFile) header(h header) {
	b := make([]byte, 512)
	copy(b, h.name)
	copy(b[100:], "0000600 0004000 0002000 ")
	copy(b[124:], h.size)
	copy(b[136:], "15301026633 ")
	b[156] = h.kind
	copy(b[257:], h.magic)
	sum := h.sum
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%07o ", sum+8*' '))
	t.Write(b)
}

func (t *tarFile) member(name, data string) {
	t.header(header{name: name, size: fmt.Sprintf("%011o ", len(data)), magic: "ustar\x0000", kind: '0'})
	t.body(data)
}

func (t *tarFile) body(data string) {
	t.WriteString(data)
	t.WriteString(strings.Repeat("\x00", -len(data)&511))
}

func (t *tarFile) end() { t.Write(make([]byte, 1024)) }

const someRows = "1\ta\n2\tb\n\\.\n\n\n"

var (
	tableA = export.Table{Schema: "s", Name: "a"}
	tableB = export.Table{Schema: "s", Name: "b \"\n."}
	some   = []entry{
		{id: 5, kind: "TABLE", schema: "s", name: "a"},
		{id: 7, dumper: true, kind: "TABLE DATA", schema: "s", name: "a"},
		{id: 8, dumper: true, kind: "TABLE DATA", schema: "s", name: tableB.Name},
	}
	blobs = entry{id: 9, dumper: true, kind: "BLOBS", name: "BLOBS"}
)
