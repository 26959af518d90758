package archive

import "strings"

const (
	faultNoTOC     fault = "toc.dat is not the first member"
	faultAfterLast fault = "a member after restore.sql"
	faultNoRestore fault = "the archive ends without restore.sql"
	faultMember    fault = "a member that the table of contents does not list"
	faultTOCLength fault = "toc.dat does not end where its table of contents ends"
)

const tocMember = "toc.dat"

// tarMember is the kind of a member, which decides how its body is checked.
type tarMember uint8

const (
	memberTOC tarMember = iota
	memberTable
	memberOther // large objects, restore.sql
)

// tarArchive checks the members of pg_dump's tar archives.
type tarArchive struct {
	toc     *tocParser
	tally   *tally
	missing int // members of the table of contents that have not come yet
	files   map[string]*tocEntry
	member  tarMember
	rows    tableData
	first   bool
	last    bool // restore.sql was read
	blobs   bool // the table of contents lists large objects
}

var _ tarMembers = (*tarArchive)(nil)

func newTarScanner(t *tally) *tarFrame {
	return newTarFrame(&tarArchive{toc: newTOC(archiveTar), tally: t, first: true})
}

// open determines the kind of a member.
func (t *tarArchive) open(name string) error {
	switch {
	case t.last:
		return faultAfterLast
	case t.first:
		t.member, t.first = memberTOC, false
		if name != tocMember {
			return faultNoTOC
		}
	case name == "restore.sql":
		t.member, t.last = memberOther, true
	default:
		return t.openData(name)
	}
	return nil
}

// openData begins a member with a table's rows or with large objects.
func (t *tarArchive) openData(name string) error {
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

// body processes bytes of the current member.
func (t *tarArchive) body(p []byte) (int, error) {
	switch t.member {
	case memberTOC:
		return t.toc.whole(p)
	case memberTable:
		return t.rows.scan(p)
	default:
		return len(p), nil
	}
}

// end is called after the last byte of a member.
func (t *tarArchive) end() error {
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
	default:
		if t.last && t.missing > 0 {
			return faultMissingData
		}
	}
	return nil
}

func (t *tarArchive) complete() error {
	if !t.last {
		return faultNoRestore
	}
	return nil
}

func blobMember(name string) bool {
	id, ok := strings.CutPrefix(name, "blob_")
	id, dat := strings.CutSuffix(id, ".dat")
	return ok && dat && id != "" && digits([]byte(id))
}
