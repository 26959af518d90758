package archive

import "io"

// reader reads pieces one after the other.
type reader struct {
	archive io.ReaderAt
	pieces  []piece
	done    int64 // of the first piece
}

func (r *reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && len(r.pieces) > 0 {
		m, whole, err := r.take(p[n:])
		n += m
		r.done += int64(m)
		if err != nil {
			return n, err
		}
		if whole {
			r.pieces, r.done = r.pieces[1:], 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// take reads from the first piece and reports whether that piece is complete. An end of the archive
// inside the piece is not the end of the part.
func (r *reader) take(p []byte) (n int, whole bool, err error) {
	first := r.pieces[0]
	if first.made != nil {
		n = copy(p, first.made[r.done:])
		return n, r.done+int64(n) == int64(len(first.made)), nil
	}
	left := first.end - first.at - r.done
	p = p[:min(int64(len(p)), left)]
	n, err = r.archive.ReadAt(p, first.at+r.done)
	switch {
	case n == len(p):
		err = nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, int64(n) == left, err
}
