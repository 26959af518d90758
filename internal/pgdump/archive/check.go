package archive

import (
	"errors"
	"fmt"
	"io"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// pieceSize is the number of bytes that Check reads at a time.
	pieceSize = 64 << 10
	// maxEmptyReads bounds reads that return neither bytes nor an error, as in bufio.
	maxEmptyReads = 100
)

// scanner checks one format. The input may come in pieces of any size.
type scanner interface {
	// scan processes the next piece. It returns how many bytes it had processed when it failed.
	// Without an error it has processed the whole piece.
	scan(p []byte) (int, error)
	// finish returns an error if the dump may not end here.
	finish() error
}

// Checker checks the structure of a dump that is written to it, and counts its rows. It is not safe
// for concurrent use, except Table.
type Checker struct {
	format  export.Format
	scanner scanner
	offset  int64
	tally   *tally
}

// NewChecker returns a Checker for one dump.
func NewChecker(f export.Format) (*Checker, error) {
	c := &Checker{format: f, tally: newTally()}
	switch f {
	case export.SQL:
		c.scanner = newSQLScanner(c.tally)
	case export.Tar:
		c.scanner = newTarScanner(c.tally)
	case export.Custom:
		c.scanner = newCustomScanner(c.tally)
	case export.Directory:
		c.scanner = newDirectoryScanner(c.tally)
	default:
		return nil, fmt.Errorf("unknown dump format %q", f)
	}
	return c, nil
}

// Write checks the next piece of the dump, of any size. A structure that pg_dump does not write is
// a *StructureError; Write must not be called after it.
func (c *Checker) Write(p []byte) (int, error) {
	n, err := c.scanner.scan(p)
	c.offset += int64(n)
	return n, c.locate(err)
}

// Finish returns the contents of the dump, or a *StructureError if it may not end here.
func (c *Checker) Finish() (export.Contents, error) {
	if err := c.locate(c.scanner.finish()); err != nil {
		return export.Contents{}, err
	}
	return export.Contents{Tables: c.tally.rows}, nil
}

// Table returns the table of the current rows; zero between tables. It is safe for concurrent use.
func (c *Checker) Table() export.Table {
	if t := c.tally.current.Load(); t != nil {
		return *t
	}
	return export.Table{}
}

func (c *Checker) locate(err error) error {
	if err == nil {
		return nil
	}
	return structureError(c.format, c.offset, err)
}

func structureError(f export.Format, offset int64, err error) *StructureError {
	s := &StructureError{Format: f, Offset: offset, Reason: err.Error(), newer: errors.Is(err, faultNewer)}
	if r, ok := errors.AsType[routineError](err); ok {
		s.Routine = string(r)
	}
	return s
}

// Check reads a plain dump to its end and checks its structure. An incomplete dump is a
// *StructureError; r's own errors are wrapped. It does not close r.
func Check(r io.Reader, f export.Format) (export.Contents, error) {
	c, err := NewChecker(f)
	if err != nil {
		return export.Contents{}, err
	}
	buf := make([]byte, pieceSize)
	for empty := 0; ; {
		n, err := r.Read(buf)
		if _, err := c.Write(buf[:n]); err != nil {
			return export.Contents{}, err
		}
		switch {
		case err == io.EOF: // a wrapped EOF is a failure, not an end
			return c.Finish()
		case err != nil:
			return export.Contents{}, fmt.Errorf("read dump: %w", err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty >= maxEmptyReads {
				return export.Contents{}, fmt.Errorf("read dump: %w", io.ErrNoProgress)
			}
		}
	}
}
