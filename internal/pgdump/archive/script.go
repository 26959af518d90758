package archive

import (
	"errors"
	"fmt"
	"io"

	"github.com/pgcourier/pgcourier/internal/export"
)

// longestStatement bounds the memory for one statement. The server accepts none above 1 GB.
const longestStatement = 256 << 20

var errLongStatement = errors.New("a statement is too long")

// Script reads pg_dump's script statement by statement and checks it as Check does. It is not safe
// for concurrent use.
type Script struct {
	r       io.Reader
	scanner *sqlScanner
	offset  int64
	buf     []byte // read and not scanned
	end     error  // of r; nil: there is more
	rows    bool   // the rows of a COPY are not read to their end yet
	kept    []byte // bytes of rows that may be copyEnd
	out     []byte // rows to return
}

// NewScript returns a Script that reads from r.
func NewScript(r io.Reader) *Script {
	scanner := newSQLScanner(newTally())
	scanner.names = true // a server reads its statements
	return &Script{r: r, scanner: scanner}
}

// Next returns the next statement, with the comments before it and without psql's commands. copies
// reports that the statement is COPY ... FROM stdin. Read then returns its rows, and the next call
// of Next skips the rest of them. io.EOF means that the script was complete.
func (s *Script) Next() (statement string, copies bool, err error) {
	if s.rows {
		if _, err := io.Copy(io.Discard, s); err != nil {
			return "", false, err
		}
	}
	var text []byte
	for {
		if err := s.fill(); err == io.EOF { //nolint:errorlint // a wrapped EOF is a failure, not an end
			if err := s.scanner.finish(); err != nil {
				return "", false, s.locate(err)
			}
			return "", false, io.EOF
		} else if err != nil {
			return "", false, err
		}
		open, meta := s.scanner.open(), s.scanner.state == lexMeta
		taken, err := s.step()
		if err != nil {
			return "", false, err
		}
		if !meta && s.scanner.state != lexMeta {
			text = append(text, taken...)
		}
		if len(text) > longestStatement {
			return "", false, errLongStatement
		}
		if open && !s.scanner.open() {
			s.rows = s.scanner.state == lexCopyLine
			return string(text), s.rows, nil
		}
	}
}

// Read returns the rows of the COPY that Next returned, in COPY's text form, up to io.EOF.
func (s *Script) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if !s.rows {
			return 0, io.EOF
		}
		if err := s.fill(); err == io.EOF { //nolint:errorlint // as above
			return 0, s.locate(errCut)
		} else if err != nil {
			return 0, err
		}
		before := s.scanner.state
		taken, err := s.step()
		if err != nil {
			return 0, err
		}
		if before != lexCopy {
			continue
		}
		// More rows follow, so the bytes in kept are not the end.
		s.kept = append(s.kept, taken...)
		const end = len(copyEnd) - 1
		n := max(0, len(s.kept)-end)
		s.out, s.kept = append(s.out, s.kept[:n]...), append(s.kept[:0], s.kept[n:]...)
		if s.scanner.state != lexCopy {
			s.rows, s.kept = false, s.kept[:0]
		}
	}
	n := copy(p, s.out)
	s.out = s.out[:copy(s.out, s.out[n:])]
	return n, nil
}

var errCut = errors.New("the script is cut short")

// fill reads more of the script if no bytes are left to scan.
func (s *Script) fill() error {
	for empty := 0; len(s.buf) == 0; {
		if s.end != nil {
			return s.end
		}
		s.buf = append(s.buf[:0], make([]byte, pieceSize)...)
		n, err := s.r.Read(s.buf)
		s.buf = s.buf[:n]
		switch {
		case err == io.EOF: // a wrapped EOF is a failure, not an end
			s.end = io.EOF
		case err != nil:
			s.end = fmt.Errorf("read script: %w", err)
		case n == 0:
			if empty++; empty >= maxEmptyReads {
				s.end = fmt.Errorf("read script: %w", io.ErrNoProgress)
			}
		}
	}
	return nil
}

// step processes some bytes with the scanner and returns them.
func (s *Script) step() ([]byte, error) {
	n, err := s.scanner.step(s.buf)
	taken := s.buf[:n]
	s.buf = s.buf[n:]
	s.offset += int64(n)
	return taken, s.locate(err)
}

func (s *Script) locate(err error) error {
	if err == nil {
		return nil
	}
	return structureError(export.SQL, s.offset, err)
}
