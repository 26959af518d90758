package archive

import (
	"io"
)

// Readable returns a reader of a script that hands on what it has checked: no byte of a piece that
// breaks the format, or of any after it, comes out. Its io.EOF says that the whole is sound; every
// other end is an error, a structural one as those of Check.
//
// It makes the script readable for psql: in a routine psql takes every word begin for the start of a body. pg_dump
// writes that start in capitals, so a begin in small letters is a name, and gets quotes.
func Readable(r io.Reader) io.Reader {
	return &readable{script: NewScript(r)}
}

type readable struct {
	script *Script
	word   []byte // as far as it was read
	out    []byte // to be handed out
	err    error
}

func (r *readable) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.out, r.err = r.piece(r.out[:0])
		if r.err != nil {
			r.out = nil
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// piece checks what was read at once, and adds it to out.
func (r *readable) piece(out []byte) ([]byte, error) {
	s := r.script
	if err := s.fill(); err == io.EOF { //nolint:errorlint // a wrapped EOF is a failure, not an end
		if err := s.locate(s.scanner.finish()); err != nil {
			return nil, err
		}
		return nil, io.EOF
	} else if err != nil {
		return nil, err
	}
	for len(s.buf) > 0 {
		within := s.scanner.state == lexWord
		taken, err := s.step()
		if err != nil {
			return nil, err
		}
		if !within {
			out = append(out, taken...)
			continue
		}
		r.word = append(r.word, taken...)
		if s.scanner.state == lexWord {
			continue
		}
		if s.scanner.nameBegin {
			out = append(append(append(out, '"'), r.word...), '"')
		} else {
			out = append(out, r.word...)
		}
		r.word = r.word[:0]
	}
	return out, nil
}
