package archive

import "math"

// fieldKind is the encoding of a value in pg_dump's archives.
type fieldKind uint8

const (
	byteField   fieldKind = iota // one byte
	intField                     // a sign byte (0 or 1), then the magnitude, low byte first
	stringField                  // an int for the length, -1 for null, then the bytes
	offsetField                  // a flag byte, then a file offset
)

const (
	faultIntSize  fault = "integers of an unsupported size"
	faultInt      fault = "a malformed integer"
	faultLongName fault = "a name longer than any identifier"
)

// fieldReader reads one field at a time from input in pieces. It keeps at most limit bytes of a
// string, so a hostile length allocates nothing.
type fieldReader struct {
	intSize int // bytes of an integer's magnitude, from the archive's header
	offSize int // bytes of a file offset

	kind  fieldKind
	limit int // bytes of a string to keep; 0: none

	fixed [9]byte // the fixed part so far
	have  int
	left  int64 // bytes of the string's body to come; valid when body is set
	body  bool

	number int64  // value of a byte, an int, an offset's flag, or a string's length
	text   []byte // kept part of a string
	cut    bool   // the string was longer than limit
}

// start prepares for the next field.
func (f *fieldReader) start(kind fieldKind, limit int) {
	f.kind, f.limit = kind, limit
	f.have, f.body, f.cut = 0, false, false
	f.text = f.text[:0]
}

// null reports whether the last string was a null pointer.
func (f *fieldReader) null() bool { return f.number == -1 }

// read processes bytes of the current field. It returns the number of bytes and whether the field
// is complete.
func (f *fieldReader) read(p []byte) (int, bool, error) {
	n := 0
	if !f.body {
		size := f.size()
		n = copy(f.fixed[f.have:size], p)
		f.have += n
		if f.have < size {
			return n, false, nil
		}
		if err := f.parse(); err != nil || f.kind != stringField || f.number <= 0 {
			return n, err == nil, err
		}
		f.body, f.left = true, f.number
	}
	take := int(min(f.left, int64(len(p)-n)))
	keep := min(take, f.limit-len(f.text))
	f.text = append(f.text, p[n:n+keep]...)
	f.cut = f.cut || keep < take
	f.left -= int64(take)
	return n + take, f.left == 0, nil
}

// size returns the length of the current field's fixed part.
func (f *fieldReader) size() int {
	switch f.kind {
	case byteField:
		return 1
	case offsetField:
		return 1 + f.offSize
	default:
		return 1 + f.intSize
	}
}

func (f *fieldReader) parse() error {
	switch f.kind {
	case byteField, offsetField:
		f.number = int64(f.fixed[0])
		return nil
	default:
		v, err := parseInt(f.fixed[:1+f.intSize])
		f.number = v
		if err == nil && f.kind == stringField && v < -1 {
			return faultInt
		}
		return err
	}
}

// parseInt decodes an archive's integer: a sign byte and the magnitude. pg_dump's integers are C
// ints, so a larger magnitude or a negative zero is damage.
func parseInt(b []byte) (int64, error) {
	if b[0] > 1 {
		return 0, faultInt
	}
	var v uint64
	for i := len(b) - 1; i > 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	switch {
	case b[0] == 0 && v <= math.MaxInt32:
		return int64(v), nil
	case b[0] == 1 && v > 0 && v <= -math.MinInt32:
		return -int64(v), nil
	default:
		return 0, faultInt
	}
}
