package archive

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Part is one member's part of a group dump's archive. It is safe for concurrent use.
type Part struct {
	archive io.ReaderAt
	pieces  []piece
	size    int64
}

// piece is a range of bytes of the archive, or bytes that were made for the part.
type piece struct {
	made    []byte
	at, end int64 // in the archive; made is nil
}

// Split divides the archive of index among projects, each given by its exact schemas, and returns
// their parts in this order. The part of a project is nil if the project depends on another one of
// them, or another one depends on it. Every entry and every block belongs to exactly one project,
// except the entries that every archive contains. The table of contents of each part, read back,
// holds no entry of another project. Errors wrap ErrNotSplit, except errors of reading the archive.
//
// The parts read from archive, which the caller keeps open while they are used.
func Split(archive io.ReaderAt, index *Index, projects [][]string) ([]*Part, error) {
	o, err := newOwners(projects)
	if err != nil {
		return nil, err
	}
	owner, err := o.attribute(index.Entries)
	if err != nil {
		return nil, err
	}
	entries, blocks := make([][]Entry, len(projects)), make([][]Block, len(projects))
	data := make(map[int64]int, len(index.Blocks)) // the project of each entry
	for i, e := range index.Entries {
		project := owner[i]
		if project != allProjects {
			entries[project] = append(entries[project], e)
			data[e.ID] = project
			continue
		}
		for p := range projects {
			entries[p] = append(entries[p], e)
		}
	}
	for _, b := range index.Blocks {
		project, ok := data[b.ID]
		if !ok {
			return nil, fmt.Errorf("%w: the data of entry %d is no project's", ErrNotSplit, b.ID)
		}
		blocks[project] = append(blocks[project], b)
	}
	parts := make([]*Part, len(projects))
	for p, tied := range entangled(index, owner, len(projects)) {
		if tied {
			continue
		}
		part, contents := newPart(archive, index, entries[p], blocks[p])
		if err := part.check(contents, projects[p], len(entries[p]), blocks[p]); err != nil {
			return nil, err
		}
		parts[p] = part
	}
	return parts, nil
}

// entangled reports for each project whether it refers to another project's entries or another
// project refers to its own.
func entangled(index *Index, owner []int, projects int) []bool {
	of := make(map[int64]int, len(owner))
	for i, e := range index.Entries {
		of[e.ID] = owner[i]
	}
	out := make([]bool, projects)
	for i, e := range index.Entries {
		for _, id := range e.Dependencies {
			if other, held := of[id]; held && other >= 0 && owner[i] >= 0 && other != owner[i] {
				out[other], out[owner[i]] = true, true
			}
		}
	}
	return out
}

// The flags of a data block's offset in pg_dump's archives.
const (
	offsetNotSet = 1 // read sequentially, which also works for a pipe
	offsetNoData = 3
)

// newPart builds the part of one project. contents is the number of the first pieces that are the
// header and the table of contents.
func newPart(archive io.ReaderAt, index *Index, entries []Entry, blocks []Block) (p *Part, contents int) {
	p = &Part{archive: archive}
	p.copy(0, index.CountAt)
	p.make(number(len(entries), index.IntSize))
	offset := make([]byte, 2*(1+index.OffsetSize))
	withData, without := offset[:1+index.OffsetSize], offset[1+index.OffsetSize:]
	withData[0], without[0] = offsetNotSet, offsetNoData
	for _, e := range entries {
		p.copy(e.At, e.End-int64(len(without))) // its last field
		if e.HasData {
			p.make(withData)
		} else {
			p.make(without)
		}
	}
	contents = len(p.pieces)
	for _, b := range blocks {
		p.copy(b.At, b.End)
	}
	return p, contents
}

// number encodes a count as pg_dump does: its sign, then its magnitude, low byte first.
func number(n, size int) []byte {
	return append([]byte{0}, binary.LittleEndian.AppendUint64(nil, uint64(n))[:size]...) //nolint:gosec // a count
}

func (p *Part) copy(at, end int64) {
	p.size += end - at
	if last := len(p.pieces) - 1; last >= 0 && p.pieces[last].made == nil && p.pieces[last].end == at {
		p.pieces[last].end = end
		return
	}
	p.pieces = append(p.pieces, piece{at: at, end: end})
}

func (p *Part) make(b []byte) {
	p.size += int64(len(b))
	p.pieces = append(p.pieces, piece{made: b})
}

// Size returns the length of the part in bytes.
func (p *Part) Size() int64 { return p.size }

// Open returns a reader of the part from its start. Readers are independent of each other.
func (p *Part) Open() io.Reader { return p.open(p.pieces) }

func (p *Part) open(pieces []piece) io.Reader { return &reader{archive: p.archive, pieces: pieces} }

// check reads the table of contents back and attributes its entries with the schemas of this
// project only.
func (p *Part) check(contents int, schemas []string, entries int, blocks []Block) error {
	x := NewIndexer()
	if _, err := io.Copy(x, p.open(p.pieces[:contents])); err != nil {
		return fmt.Errorf("read back a part: %w", err)
	}
	index, err := x.Contents()
	if err != nil {
		return fmt.Errorf("read back a part: %w", err)
	}
	o, err := newOwners([][]string{schemas})
	if err != nil {
		return err
	}
	if _, err := o.attribute(index.Entries); err != nil {
		return fmt.Errorf("read back a part: %w", err)
	}
	if len(index.Entries) != entries {
		return fmt.Errorf("%w: a part of %d entries reads back as %d", ErrNotSplit, entries, len(index.Entries))
	}
	// The data of each entry with data, in any order.
	due := map[int64]bool{}
	for _, e := range index.Entries {
		if e.HasData {
			due[e.ID] = true
		}
	}
	for _, b := range blocks {
		if !due[b.ID] {
			return fmt.Errorf("%w: data of entry %d, which the part does not list", ErrNotSplit, b.ID)
		}
		delete(due, b.ID)
	}
	if len(due) > 0 {
		return fmt.Errorf("%w: %d entries of a part lack their data", ErrNotSplit, len(due))
	}
	return nil
}
