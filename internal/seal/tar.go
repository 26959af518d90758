package seal

import "strings"

const (
	faultNoTOC      fault = "toc.dat is not the first member"
	faultAfterLast  fault = "a member after restore.sql"
	faultNoRestore  fault = "the archive ends without restore.sql"
	faultMember     fault = "a member that the table of contents does not list"
	faultTOCLength  fault = "toc.dat does not end where its table of contents ends"
	faultPadding    fault = "padding that is not zero"
	faultAfterEnd   fault = "bytes after the archive's end"
	faultBlockCount fault = "the archive does not end at a block"
)

// tarState is where in a tar archive the next byte is.
type tarState uint8

const (
	tarHeaderBlock tarState = iota
	tarBody                 // of a member
	tarPadding              // after a member, to the block's end
	tarEnd                  // zeros after restore.sql
)

// tarMember is what a member's body is fed to.
type tarMember uint8

const (
	memberTOC tarMember = iota
	memberTable
	memberOther // large objects, restore.sql
	memberPax   // an extended header for the next member
)

// tarScanner checks pg_dump's tar archives. archive/tar is no use here: it reports a
// clean end without the two zero blocks, and for an empty file.
type tarScanner struct {
	toc     *tocParser
	tally   *tally
	state   tarState
	block   [tarBlock]byte
	have    int
	left    int64 // bytes of the body to come
	pad     int64 // bytes of padding after it
	zeros   int64 // zero bytes of the end so far
	missing int   // members of the table of contents that did not come yet
	files   map[string]*tocEntry
	member  tarMember
	rows    tableData
	pax     []byte
	size    int64 // from an extended header, for the next member; -1: none
	first   bool
	last    bool // restore.sql was met
	blobs   bool // the table of contents lists large objects
	total   int64
}

func newTarScanner(t *tally) *tarScanner {
	return &tarScanner{toc: newTOC(archiveTar), tally: t, size: -1, first: true}
}

func (t *tarScanner) scan(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := t.step(p[n:])
		n += m
		t.total += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (t *tarScanner) step(p []byte) (int, error) {
	switch t.state {
	case tarHeaderBlock:
		n := copy(t.block[t.have:], p)
		if t.have += n; t.have < tarBlock {
			return n, nil
		}
		t.have = 0
		return n, t.header()
	case tarBody:
		n, err := t.body(p[:min(t.left, int64(len(p)))])
		if t.left -= int64(n); t.left == 0 && err == nil {
			err = t.endMember()
		}
		return n, err
	case tarPadding:
		n := int(min(t.pad, int64(len(p))))
		if i := nonZero(p[:n]); i >= 0 {
			return i, faultPadding
		}
		if t.pad -= int64(n); t.pad == 0 {
			t.state = tarHeaderBlock
		}
		return n, nil
	default:
		if i := nonZero(p); i >= 0 {
			return i, faultAfterEnd
		}
		t.zeros += int64(len(p))
		return len(p), nil
	}
}

// header takes a whole block where a member or the end may begin.
func (t *tarScanner) header() error {
	if nonZero(t.block[:]) < 0 {
		if !t.last {
			return faultNoRestore
		}
		t.state, t.zeros = tarEnd, tarBlock
		return nil
	}
	h, err := parseTarHeader(&t.block)
	if err != nil {
		return err
	}
	if t.size >= 0 && h.kind == tarRegular {
		h.size, t.size = t.size, -1
	}
	if err := t.open(h); err != nil {
		return err
	}
	t.left, t.pad = h.size, -h.size&(tarBlock-1)
	if t.state = tarBody; t.left == 0 {
		return t.endMember()
	}
	return nil
}

// open decides what a member is.
func (t *tarScanner) open(h tarHeader) error {
	switch {
	case t.last:
		return faultAfterLast
	case h.kind == tarExtended:
		t.member, t.pax = memberPax, t.pax[:0]
		if h.size > maxPax {
			return faultTarHeader
		}
	case t.first:
		t.member, t.first = memberTOC, false
		if h.name != "toc.dat" {
			return faultNoTOC
		}
	case h.name == "restore.sql":
		t.member, t.last = memberOther, true
	default:
		return t.openData(h.name)
	}
	return nil
}

// openData begins a member with a table's rows or with large objects.
func (t *tarScanner) openData(name string) error {
	e := t.files[name]
	switch {
	case e == nil && t.blobs && blobMember(name):
		t.member = memberOther
		return nil
	case e == nil:
		return faultMember
	case e.seen:
		return faultTwice
	}
	e.seen = true
	t.missing--
	if e.blobs {
		t.member = memberOther
		return nil
	}
	t.member = memberTable
	t.rows.begin()
	return t.tally.begin(e.table)
}

// body takes bytes of the current member.
func (t *tarScanner) body(p []byte) (int, error) {
	switch t.member {
	case memberTOC:
		n, err := t.toc.scan(p)
		if err == nil && n < len(p) {
			err = faultTOCLength
		}
		return n, err
	case memberTable:
		return t.rows.scan(p)
	case memberPax:
		t.pax = append(t.pax, p...)
	default:
	}
	return len(p), nil
}

// endMember is called when a member's last byte was taken.
func (t *tarScanner) endMember() error {
	if t.state = tarPadding; t.pad == 0 {
		t.state = tarHeaderBlock
	}
	switch t.member {
	case memberTOC:
		if !t.toc.done {
			return faultTOCLength
		}
		t.files = make(map[string]*tocEntry, len(t.toc.entries))
		for _, e := range t.toc.entries {
			t.files[e.file] = e
			t.blobs = t.blobs || e.blobs
		}
		if t.missing = len(t.files); t.missing != len(t.toc.entries) {
			return faultTwice
		}
	case memberTable:
		if !t.rows.done {
			return faultRowsCut
		}
		t.tally.end(t.rows.rows)
	case memberPax:
		var err error
		t.size, err = paxSize(t.pax)
		return err
	default:
		if t.last && t.missing > 0 {
			return faultMissingData
		}
	}
	return nil
}

func blobMember(name string) bool {
	id, ok := strings.CutPrefix(name, "blob_")
	id, dat := strings.CutSuffix(id, ".dat")
	return ok && dat && id != "" && digits([]byte(id))
}

func (t *tarScanner) finish() error {
	switch {
	case t.state != tarEnd || t.zeros < 2*tarBlock:
		return faultCut
	case t.total%tarBlock != 0:
		return faultBlockCount
	}
	return nil
}
