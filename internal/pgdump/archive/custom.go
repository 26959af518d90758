package archive

// The types of data blocks in a custom archive.
const (
	blockData  = 1
	blockBlobs = 3
)

const (
	faultBlock        fault = "a block of an unknown kind"
	faultUnknownEntry fault = "data that the table of contents does not list"
	faultChunk        fault = "a negative chunk length"
	faultRowsCut      fault = "a table's rows have no end"
	faultMissingData  fault = "data that the table of contents lists is missing"
	faultCut          fault = "the dump is cut short"
)

// customState is the kind of a custom archive's next field.
type customState uint8

const (
	customTOC    customState = iota
	customBlock              // a block's type, or the archive's end
	customID                 // the block's dump id
	customLength             // of a table's next chunk; 0 ends the table
	customChunk
	customBlobID // a large object's OID; 0 ends the block
	customBlobLength
	customBlobChunk
)

// customScanner checks pg_dump's custom archives: the table of contents, then one block of data, in
// chunks, for each entry with data.
type customScanner struct {
	toc     *tocParser
	tally   *tally
	state   customState
	field   fieldReader
	missing int // entries with data that has not come yet
	left    int64
	blobs   bool // the block's type
	rows    tableData

	pos   int64    // bytes processed so far
	index *indexed // nil: the places of the blocks are not recorded
}

func newCustomScanner(t *tally) *customScanner {
	return &customScanner{toc: newTOC(archiveCustom), tally: t}
}

func (c *customScanner) scan(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := c.step(p[n:])
		n += m
		c.pos += int64(m)
		if err != nil {
			return n, err
		}
		if c.state == customBlock {
			c.index.endBlock(c.pos)
		}
	}
	return n, nil
}

func (c *customScanner) step(p []byte) (int, error) {
	switch c.state {
	case customTOC:
		n, err := c.toc.scan(p)
		if err == nil && c.toc.done {
			c.field.intSize, c.missing = c.toc.field.intSize, len(c.toc.entries)
			c.expect(customBlock)
		}
		return n, err
	case customChunk:
		take := min(c.left, int64(len(p)))
		n, err := c.rows.scan(p[:take])
		if c.left -= int64(n); c.left == 0 && err == nil {
			c.expect(customLength)
		}
		return n, err
	case customBlobChunk:
		take := min(c.left, int64(len(p)))
		if c.left -= take; c.left == 0 {
			c.expect(customBlobLength)
		}
		return int(take), nil
	default:
		n, complete, err := c.field.read(p)
		if complete && err == nil {
			err = c.take(c.field.number)
		}
		return n, err
	}
}

// expect prepares for the next field.
func (c *customScanner) expect(s customState) {
	c.state = s
	kind := intField
	if s == customBlock {
		kind = byteField
	}
	c.field.start(kind, 0)
}

// take processes a complete field outside the table of contents.
func (c *customScanner) take(v int64) error {
	switch c.state {
	case customBlock:
		if v != blockData && v != blockBlobs {
			return faultBlock
		}
		c.blobs = v == blockBlobs
		c.index.beginBlock(c.pos) // the type is its first byte
		c.expect(customID)
	case customID:
		return c.open(v)
	case customBlobID:
		c.expect(customBlobLength) // the upper half of the OIDs is written as negative
		if v == 0 {
			c.expect(customBlock)
		}
	default:
		return c.chunk(v)
	}
	return nil
}

// open begins the block of an entry.
func (c *customScanner) open(id int64) error {
	e := c.toc.entries[id]
	switch {
	case e == nil || e.blobs != c.blobs:
		return faultUnknownEntry
	case e.seen:
		return faultTwice
	}
	e.seen = true
	c.missing--
	c.index.nameBlock(id)
	if c.blobs {
		c.expect(customBlobID)
		return nil
	}
	c.rows.begin()
	c.expect(customLength)
	return c.tally.begin(e.table)
}

// chunk begins the next piece of a table or a large object; 0 ends it.
func (c *customScanner) chunk(length int64) error {
	blob := c.state == customBlobLength
	switch {
	case length < 0:
		return faultChunk
	case length > 0 && blob:
		c.left, c.state = length, customBlobChunk
	case length > 0:
		c.left, c.state = length, customChunk
	case blob:
		c.expect(customBlobID)
	case !c.rows.done:
		return faultRowsCut
	default:
		c.tally.end(c.rows.rows)
		c.expect(customBlock)
	}
	return nil
}

func (c *customScanner) finish() error {
	switch {
	case c.state != customBlock:
		return faultCut
	case c.missing > 0:
		return faultMissingData
	}
	return nil
}
