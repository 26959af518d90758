package archive

import "bytes"

const (
	faultNUL       fault = "a NUL byte in a table's rows"
	faultAfterRows fault = "text after the end of a table's rows"
)

// copyEnd is what ends the rows of COPY in text form, seen together with the line break
// before it. In a row a backslash is always doubled, so no data can look like it.
const copyEnd = "\n\\.\n"

// copyWindow is how much is looked at in one go: small enough to stay in the first cache
// for both passes over it.
const copyWindow = 16 << 10

// copyScanner counts the rows of one table's data, in COPY's text form.
type copyScanner struct {
	rows    int64
	matched int // bytes of copyEnd that the input so far ends with
	done    bool
}

// begin starts a section. Its first line counts as following a line break.
func (c *copyScanner) begin() { *c = copyScanner{matched: 1} }

// scan takes rows up to and including their end, and returns how much it took.
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

// lines goes from line break to line break: the library finds one faster than any search
// for the whole end, which stops at each of them too.
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

// step takes one byte while an end may be under way.
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

// tableData scans the data of one table where it stands alone: COPY's rows, their end,
// and line breaks after it. Archives hold it in this form.
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
