package archive

import (
	"errors"
	"strconv"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Index describes where the parts of a custom archive are. Offsets are bytes from its start.
type Index struct {
	// IntSize is the number of bytes of an integer's magnitude. OffsetSize is the number of bytes of a
	// file offset.
	IntSize, OffsetSize int
	// CountAt and EntriesAt enclose the number of entries, the header's last field.
	CountAt, EntriesAt int64
	Entries            []Entry // in the archive's order
	Blocks             []Block // in the archive's order
}

// Entry is one entry of the table of contents of a custom archive.
type Entry struct {
	ID   int64
	Kind string // for instance "TABLE DATA"
	// Tag is the entry's name: of a table, or of a function with its arguments. For an entry without
	// data it is at most the first 1024 bytes.
	Tag     string
	Schema  string // empty: none
	HasData bool
	// Dependencies are the ids of other entries, or of objects outside of the archive.
	Dependencies []int64
	// The entry starts at At and ends before End. Its last field is the offset of its data: a flag,
	// then Index.OffsetSize bytes.
	At, End int64
}

// Block is the data of one entry.
type Block struct {
	ID      int64 // of the entry
	At, End int64
}

// Indexer checks a custom archive as Check does, in pieces of any size, and records the positions
// of its parts. It is not safe for concurrent use.
type Indexer struct {
	checker *Checker
	custom  *customScanner
	err     error
}

// NewIndexer returns an Indexer for one archive.
func NewIndexer() *Indexer {
	t := newTally()
	c := newCustomScanner(t)
	c.index = &indexed{words: map[string]string{}}
	c.toc.index = c.index
	return &Indexer{checker: &Checker{format: export.Custom, scanner: c, tally: t}, custom: c}
}

// Write processes the next piece. An archive that is incomplete, or not the output of pg_dump -Fc
// -Z0, is a *StructureError, also for all later calls.
func (x *Indexer) Write(p []byte) (int, error) {
	if x.err != nil {
		return 0, x.err
	}
	before := x.custom.pos
	_, x.err = x.checker.Write(p)
	return int(x.custom.pos - before), x.err
}

var errContentsCut = errors.New("the table of contents is cut short")

// Contents returns the index once the whole table of contents was written. The blocks of the index
// are complete only after Finish.
func (x *Indexer) Contents() (*Index, error) {
	switch {
	case x.err != nil:
		return nil, x.err
	case !x.custom.toc.done:
		return nil, errContentsCut
	}
	return &x.custom.index.Index, nil
}

// Finish returns the index, or an error if the archive may not end here.
func (x *Indexer) Finish() (*Index, error) {
	if x.err != nil {
		return nil, x.err
	}
	if _, x.err = x.checker.Finish(); x.err != nil {
		return nil, x.err
	}
	return &x.custom.index.Index, nil
}

// indexed is an Index that is being built. A nil indexed records nothing.
type indexed struct {
	Index
	cost  int
	words map[string]string // kinds and schemas, which many entries share
	block bool              // a block is open
}

// begin records the fields of the header, after its last field.
func (x *indexed) begin(t *tocParser) {
	if x == nil {
		return
	}
	x.IntSize, x.OffsetSize = t.field.intSize, t.field.offSize
	x.CountAt, x.EntriesAt = t.fieldAt, t.pos
}

// take records a field of an entry. at is the offset of the entry.
func (x *indexed) take(use tocField, f *fieldReader, at int64) error {
	if x == nil {
		return nil
	}
	if use == dumpID {
		x.Entries = append(x.Entries, Entry{ID: f.number, At: at})
		x.cost += nameCost
	}
	e := &x.Entries[len(x.Entries)-1]
	switch use {
	case hasData:
		e.HasData = f.number == 1
	case tagText:
		e.Tag = string(f.text)
	case kindText:
		e.Kind = x.word(f.text)
	case schemaText:
		e.Schema = x.word(f.text)
	case dependency:
		return x.depend(e, f)
	default:
		return nil
	}
	x.cost += len(f.text)
	if x.cost > maxNames {
		return faultManyEntries
	}
	return nil
}

const faultManyEntries fault = "more entries than memory is set aside for"

func (x *indexed) depend(e *Entry, f *fieldReader) error {
	if f.null() {
		return nil
	}
	id, err := strconv.ParseInt(string(f.text), 10, 64)
	if err != nil {
		return faultTOC
	}
	e.Dependencies = append(e.Dependencies, id)
	if x.cost += 8; x.cost > maxNames {
		return faultManyEntries
	}
	return nil
}

// word returns one shared copy of a frequent text.
func (x *indexed) word(b []byte) string {
	if w, ok := x.words[string(b)]; ok {
		return w
	}
	w := string(b)
	x.words[w] = w
	return w
}

func (x *indexed) end(at int64) {
	if x != nil {
		x.Entries[len(x.Entries)-1].End = at
	}
}

func (x *indexed) beginBlock(at int64) {
	if x != nil {
		x.Blocks, x.block = append(x.Blocks, Block{At: at}), true
	}
}

func (x *indexed) nameBlock(id int64) {
	if x != nil {
		x.Blocks[len(x.Blocks)-1].ID = id
	}
}

func (x *indexed) endBlock(at int64) {
	if x != nil && x.block {
		x.Blocks[len(x.Blocks)-1].End, x.block = at, false
	}
}
