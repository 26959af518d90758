package archive

import (
	"strconv"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

const (
	faultMagic      fault = "not an archive of pg_dump"
	faultVersion    fault = "an archive of a version that is too old"
	faultNewer      fault = "an archive of a version that is newer than any known: a newer pgcourier may read it"
	faultFormat     fault = "an archive of another format"
	faultCompressed fault = "the archive is compressed by pg_dump, its rows cannot be counted"
	faultTOC        fault = "a malformed table of contents"
	faultDumperKind fault = "an entry with data of an unknown kind"
)

// tocEntry is an entry of the table of contents with data in the archive.
type tocEntry struct {
	table export.Table
	blobs bool   // large objects, not a table
	file  string // its member's name; tar only
	seen  bool   // its data was read
}

// tocParser parses the header and the table of contents of an archive, and keeps the entries with
// data.
type tocParser struct {
	format  byte // the code that the header must contain
	entries map[int64]*tocEntry
	cost    int

	field   fieldReader
	steps   []tocStep // of the current part
	at      int
	version pgversion.Archive
	left    int64 // entries to come
	header  int   // 0: fixed part, 1: the rest of it, 2: the entries
	done    bool

	pos     int64    // bytes processed so far
	fieldAt int64    // where the current field began
	index   *indexed // nil: the positions of the entries are not recorded

	id      int64 // of the current entry
	dumper  bool
	tag     string
	kind    string
	current *tocEntry
}

func newTOC(format byte) *tocParser {
	t := &tocParser{format: format, entries: make(map[int64]*tocEntry), steps: tocHeader[:]}
	t.field.start(t.steps[0].kind, 0)
	return t
}

// scan processes bytes up to the end of the table of contents, and returns their number.
func (t *tocParser) scan(p []byte) (int, error) {
	n := 0
	for n < len(p) && !t.done {
		m, complete, err := t.field.read(p[n:])
		n += m
		t.pos += int64(m)
		if err != nil {
			return n, err
		}
		if !complete {
			continue
		}
		if err := t.take(t.steps[t.at]); err != nil {
			return n, err
		}
		t.next()
	}
	return n, nil
}

// whole processes a table of contents after which nothing may follow.
func (t *tocParser) whole(p []byte) (int, error) {
	n, err := t.scan(p)
	if err == nil && n < len(p) {
		err = faultTOCLength
	}
	return n, err
}

// next selects the field after the current one.
func (t *tocParser) next() {
	if t.steps[t.at].use == dependency && !t.field.null() {
		t.field.start(stringField, maxOID) // the list of dependencies ends with a null
		return
	}
	if t.at++; t.at == len(t.steps) {
		t.at = 0
		switch t.header {
		case 0:
			t.header, t.steps = 1, restOfHeader(t.version)
		case 1:
			t.header, t.steps = 2, entrySteps(t.version, t.format)
		default:
			t.left--
			t.index.end(t.pos)
		}
		t.done = t.header == 2 && t.left == 0
	}
	t.fieldAt = t.pos
	step := t.steps[t.at]
	t.field.start(step.kind, t.keep(step.use))
}

// maxOID is the length of the largest OID in decimal.
const maxOID = 10

// keep returns how much of a string is needed.
func (t *tocParser) keep(use tocField) int {
	switch use {
	case oidText, dependency, oidsFlag:
		return maxOID
	case tagText, kindText, schemaText, fileText:
		if t.dumper || t.index != nil {
			return maxName
		}
	default:
	}
	return 0
}

// take processes a complete field.
func (t *tocParser) take(s tocStep) error {
	f := &t.field
	// An entry without data may have a long tag: the tag of a function contains its arguments.
	if f.cut && t.keep(s.use) > 0 && (t.dumper || s.use != tagText) {
		return faultLongName
	}
	if t.header < 2 {
		return t.takeHeader(s.use)
	}
	if err := t.index.take(s.use, f, t.fieldAt); err != nil {
		return err
	}
	switch s.use {
	case dumpID:
		t.id, t.tag, t.kind, t.current = f.number, "", "", nil
		if t.id <= 0 || t.entries[t.id] != nil {
			return faultTOC
		}
	case hasData:
		t.dumper = f.number == 1
		if f.number != 0 && f.number != 1 {
			return faultTOC
		}
	case oidText, dependency:
		if !digits(f.text) || len(f.text) == 0 && !f.null() {
			return faultTOC
		}
	case section: // none, pre-data, data, post-data
		if f.number < 1 || f.number > 4 {
			return faultTOC
		}
	case oidsFlag:
		if s := string(f.text); s != "false" && s != "true" {
			return faultTOC
		}
	case tagText:
		t.tag = string(f.text)
	case kindText:
		t.kind = string(f.text)
	case schemaText:
		if t.dumper {
			return t.addEntry(string(f.text))
		}
	case fileText:
		if t.current != nil {
			return t.setFile(string(f.text))
		}
	default:
	}
	return nil
}

func (t *tocParser) takeHeader(use tocField) error {
	v := t.field.number
	switch use {
	case magicByte:
		if v != int64("PGDMP"[t.at]) {
			return faultMagic
		}
	case versionMajor:
		switch {
		case v > 1:
			return faultNewer
		case v < 1:
			return faultVersion
		}
	case versionMinor:
		var known bool
		switch t.version, known = pgversion.ArchiveOf(int(v)); {
		case known:
		case v > pgversion.NewestArchive:
			return faultNewer
		default:
			return faultVersion
		}
	case intSizeByte, offSizeByte:
		if v != 4 && v != 8 {
			return faultIntSize
		}
		if use == intSizeByte {
			t.field.intSize = int(v)
		} else {
			t.field.offSize = int(v)
		}
	case formatByte:
		if v != int64(t.format) {
			return faultFormat
		}
	case compression:
		if v != 0 {
			return faultCompressed
		}
	case entryCount:
		if t.left = v; v < 0 {
			return faultTOC
		}
		t.index.begin(t)
	default:
	}
	return nil
}

// addEntry keeps the current entry, which has data.
func (t *tocParser) addEntry(schema string) error {
	e := &tocEntry{}
	switch t.kind {
	case "TABLE DATA":
		e.table = export.Table{Schema: schema, Name: t.tag}
	case "BLOBS":
		e.blobs = true
	default:
		return faultDumperKind
	}
	t.cost += len(schema) + len(t.tag) + nameCost
	if t.cost > maxNames {
		return faultManyTables
	}
	t.entries[t.id], t.current = e, e
	return nil
}

// setFile sets the member of the current entry. Its name is derived from the entry's id. The table
// of contents lists large objects in the same way, but their member is the list of them: blobs.toc,
// numbered since PostgreSQL 17 splits them.
func (t *tocParser) setFile(name string) error {
	id := strconv.FormatInt(t.id, 10)
	if name != id+".dat" {
		return faultTOC
	}
	switch {
	case !t.current.blobs:
	case t.version.NumberedBlobs:
		name = "blobs_" + id + ".toc"
	default:
		name = "blobs.toc"
	}
	t.current.file = name
	return nil
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
