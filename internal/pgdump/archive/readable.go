package archive

import (
	"io"
)

// Readable returns a reader of a script that passes on only checked bytes: it returns no byte of
// the first faulty piece or after it. Its io.EOF means that the whole script is valid. Every other
// end is an error; a structural error is the same as Check's.
//
// It also makes the script readable for psql. In a routine, psql takes every word begin for the
// start of a body. pg_dump writes that start in capitals, so a begin in small letters is a name,
// and Readable quotes it.
func Readable(r io.Reader) io.Reader {
	return &readable{script: NewScript(r)}
}

type readable struct {
	script *Script
	word   []byte // the bytes so far
	out    []byte // checked bytes that were not returned yet
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

// piece checks one piece and appends it to out.
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
