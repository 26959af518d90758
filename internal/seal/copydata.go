package seal

import (
	"bytes"
	"encoding/binary"
)

const (
	faultNUL       fault = "a NUL byte in a table's rows"
	faultAfterRows fault = "text after the end of a table's rows"
)

// copyEnd is what ends the rows of COPY in text form, seen together with the line break
// before it. In a row a backslash is always doubled, so no data can look like it.
const copyEnd = "\n\\.\n"

// copyWindow is how much is looked at in one go: small enough to stay in the first
// caches for all three passes over it.
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
		if c.matched > 0 {
			n++
			if err := c.step(p[n-1]); err != nil {
				return n, err
			}
			continue
		}
		m, err := c.window(p[n:min(len(p), n+copyWindow)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// step takes one byte while an end may be under way.
func (c *copyScanner) step(b byte) error {
	switch {
	case b == copyEnd[c.matched]:
		c.matched++
		c.done = c.matched == len(copyEnd)
	case b == '\n':
		c.matched = 1
		c.rows++
	case b == 0:
		return faultNUL
	default:
		c.matched = 0
	}
	return nil
}

// window takes bytes that follow no part of an end.
func (c *copyScanner) window(p []byte) (int, error) {
	end := indexCopyEnd(p)
	body := p
	switch {
	case end >= 0: // the line break of copyEnd ends the last row
		body = p[:end+1]
		c.matched, c.done = len(copyEnd), true
	default:
		c.matched = endsWithin(p)
		end = len(p) - len(copyEnd)
	}
	if i := bytes.IndexByte(body, 0); i >= 0 {
		return i, faultNUL
	}
	c.rows += int64(bytes.Count(body, newline))
	return min(len(p), end+len(copyEnd)), nil
}

var newline = []byte{'\n'}

// endsWithin returns how many bytes of copyEnd p ends with, at most all but one.
func endsWithin(p []byte) int {
	for n := min(len(p), len(copyEnd)-1); n > 0; n-- {
		if string(p[len(p)-n:]) == copyEnd[:n] {
			return n
		}
	}
	return 0
}

// indexCopyEnd is bytes.Index(p, copyEnd), eight bytes at a time. The library's search
// stops at each line break or compares byte by byte, which is several times slower on
// short rows; this one stops only where a line begins with a backslash and a dot.
func indexCopyEnd(p []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8+len(copyEnd) <= len(p); i += 8 {
		q := p[i : i+8+len(copyEnd)]
		// A byte of x is zero where all three patterns fit.
		x := binary.LittleEndian.Uint64(q) ^ '\n'*ones |
			binary.LittleEndian.Uint64(q[1:]) ^ '\\'*ones |
			binary.LittleEndian.Uint64(q[2:]) ^ '.'*ones
		if (x-ones)&^x&highs == 0 {
			continue
		}
		if j := bytes.Index(q[:8+len(copyEnd)-1], []byte(copyEnd)); j >= 0 {
			return i + j
		}
	}
	if j := bytes.Index(p[i:], []byte(copyEnd)); j >= 0 {
		return i + j
	}
	return -1
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
