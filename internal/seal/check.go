package seal

import (
	"errors"
	"fmt"
	"io"
)

// scanner checks one format, fed in pieces of any size.
type scanner interface {
	// scan takes the next piece. It returns how much of it was looked at when it
	// failed; without an error it has taken all.
	scan(p []byte) (int, error)
	// finish says whether the dump may end here.
	finish() error
}

// checker runs a format's scanner over a dump and says where it failed.
type checker struct {
	format  Format
	scanner scanner
	offset  int64
	tally   *tally
}

func newChecker(f Format) (*checker, error) {
	c := &checker{format: f, tally: newTally()}
	switch f {
	case SQL:
		c.scanner = newSQLScanner(c.tally)
	case Tar:
		c.scanner = newTarScanner(c.tally)
	case Custom:
		c.scanner = newCustomScanner(c.tally)
	case Directory:
		c.scanner = newDirectoryScanner(c.tally)
	default:
		return nil, fmt.Errorf("unknown dump format %q", f)
	}
	return c, nil
}

func (c *checker) write(p []byte) error {
	n, err := c.scanner.scan(p)
	c.offset += int64(n)
	return c.locate(err)
}

func (c *checker) finish() (Contents, error) {
	if err := c.locate(c.scanner.finish()); err != nil {
		return Contents{}, err
	}
	return Contents{Tables: c.tally.rows}, nil
}

func (c *checker) locate(err error) error {
	if err == nil {
		return nil
	}
	return &StructureError{Format: c.format, Offset: c.offset, Reason: err.Error(), Newer: errors.Is(err, faultNewer)}
}

// Check reads a plain dump to its end and checks its structure. A dump that is not whole
// is a *StructureError; r's own errors are wrapped. It does not close r.
func Check(r io.Reader, f Format) (Contents, error) {
	c, err := newChecker(f)
	if err != nil {
		return Contents{}, err
	}
	buf := make([]byte, fillSize)
	for empty := 0; ; {
		n, err := r.Read(buf)
		if err := c.write(buf[:n]); err != nil {
			return Contents{}, err
		}
		switch {
		case err == io.EOF: // a wrapped EOF is a failure, not an end
			return c.finish()
		case err != nil:
			return Contents{}, fmt.Errorf("read dump: %w", err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty >= maxEmptyReads {
				return Contents{}, fmt.Errorf("read dump: %w", io.ErrNoProgress)
			}
		}
	}
}

// Guard returns a reader that hands on what it has checked: no byte of a piece that breaks
// the format f, or of any after it, comes out. Its io.EOF says that the whole is sound; every
// other end is an error, a structural one as those of Check.
func Guard(r io.Reader, f Format) (io.Reader, error) {
	c, err := newChecker(f)
	if err != nil {
		return nil, err
	}
	return &guard{r: r, checker: c}, nil
}

type guard struct {
	r       io.Reader
	checker *checker
	err     error
}

func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	if g.err = g.checker.write(p[:n]); g.err != nil {
		clear(p[:n])
		return 0, g.err
	}
	if err == io.EOF {
		if _, g.err = g.checker.finish(); g.err == nil {
			g.err = io.EOF
		}
		if n > 0 {
			return n, nil
		}
		return 0, g.err
	}
	g.err = err
	return n, err
}
