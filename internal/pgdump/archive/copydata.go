package archive

import "bytes"

const (
	faultNUL       fault = "a NUL byte in a table's rows"
	faultAfterRows fault = "text after the end of a table's rows"
)

// copyEnd ends the rows of COPY in text form, together with the line break before it. In a row a
// backslash is always doubled, so no data can look like it.
const copyEnd = "\n\\.\n"

// copyWindow is the number of bytes that one step scans. It is small enough that the first-level
// cache holds them for both passes.
const copyWindow = 16 << 10

// copyScanner counts the rows of one table's data, in COPY's text form.
type copyScanner struct {
	rows    int64
	matched int // bytes of copyEnd at the end of the input so far
	done    bool
}

// begin starts a section. Its first line counts as preceded by a line break.
func (c *copyScanner) begin() { *c = copyScanner{matched: 1} }

// scan processes rows up to and including their end, and returns the number of bytes.
func (c *copyScanner) scan(p []byte) (int, error) {
	n := 0
	for !c.done && n < len(p) {
		m, err := c.lines(p[n:min(len(p), n+copyWindow)])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// lines searches for line breaks. The library finds a line break faster than copyEnd, because a
// search for copyEnd also stops at each line break.
func (c *copyScanner) lines(p []byte) (int, error) {
	n := 0
	for n < len(p) && !c.done {
		if c.matched > 0 {
			c.step(p[n])
			n++
			continue
		}
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			n = len(p)
			break
		}
		n += i + 1
		c.rows++
		c.matched = 1
	}
	if i := bytes.IndexByte(p[:n], 0); i >= 0 {
		return i, faultNUL
	}
	return n, nil
}

// step processes one byte of a possible end.
func (c *copyScanner) step(b byte) {
	switch b {
	case copyEnd[c.matched]:
		c.matched++
		c.done = c.matched == len(copyEnd)
	case '\n':
		c.matched = 1
		c.rows++
	default:
		c.matched = 0
	}
}

// tableData scans the data of one table in an archive: COPY's rows, their end, and the line breaks
// after it.
type tableData struct {
	copyScanner
}

func (t *tableData) scan(p []byte) (int, error) {
	n, err := t.copyScanner.scan(p)
	if err != nil {
		return n, err
	}
	for ; n < len(p); n++ {
		if p[n] != '\n' {
			return n, faultAfterRows
		}
	}
	return n, nil
}
