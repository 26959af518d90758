package archive

import (
	"bytes"
	"math"
	"strconv"
)

const (
	tarBlock = 512
	// maxPax bounds an extended header: room for any size, path and times.
	maxPax = 64 << 10
)

// The allowed kinds of tar members.
const (
	tarRegular  = '0'
	tarExtended = 'x'
)

const (
	faultTarHeader fault = "a malformed tar header"
	faultTarSum    fault = "a tar header with a wrong checksum"
	faultTarKind   fault = "a tar member that is no regular file"
)

// tarHeader holds the used fields of a member's header.
type tarHeader struct {
	name string
	size int64
	kind byte
}

// parseTarHeader decodes a POSIX (ustar) header. The checksum detects any flipped byte, also in its
// own field, which must have pg_dump's form.
func parseTarHeader(b *[tarBlock]byte) (tarHeader, error) {
	const sumAt, sumSize = 148, 8
	sum := int64(sumSize * ' ')
	for i, c := range b {
		if i < sumAt || i >= sumAt+sumSize {
			sum += int64(c)
		}
	}
	want, err := tarNumber(b[sumAt : sumAt+sumSize])
	field := b[sumAt : sumAt+sumSize]
	switch {
	case err != nil:
		return tarHeader{}, err
	case want != sum || field[0]&0x80 != 0 || !canonicalSum(field):
		return tarHeader{}, faultTarSum
	case string(b[257:262]) != "ustar":
		return tarHeader{}, faultTarHeader
	}
	h := tarHeader{kind: b[156]}
	if h.kind != tarRegular && h.kind != tarExtended {
		return tarHeader{}, faultTarKind
	}
	name, _, _ := bytes.Cut(b[:100], []byte{0})
	h.name = string(name)
	h.size, err = tarNumber(b[124:136])
	return h, err
}

// canonicalSum accepts the two forms of a checksum: seven digits and a space (pg_dump), or six
// digits, NUL and space (POSIX tar, archive/tar).
func canonicalSum(f []byte) bool {
	return f[7] == ' ' && (digits(f[:7]) || digits(f[:6]) && f[6] == 0)
}

// tarNumber decodes octal digits that a space or NUL ends, or, if the first bit is set, base-256,
// which pg_dump and GNU tar use for sizes from 8 GiB on.
func tarNumber(f []byte) (int64, error) {
	if f[0]&0x80 != 0 {
		v := uint64(f[0] & 0x7f)
		for _, c := range f[1:] {
			if v > math.MaxInt64>>8 {
				return 0, faultTarHeader
			}
			v = v<<8 | uint64(c)
		}
		return int64(v), nil // bounded above to 63 bits
	}
	v, i := int64(0), 0
	for ; i < len(f) && f[i] >= '0' && f[i] <= '7'; i++ {
		v = v<<3 | int64(f[i]-'0')
	}
	if i == 0 || len(bytes.Trim(f[i:], " \x00")) > 0 {
		return 0, faultTarHeader
	}
	return v, nil
}

// paxSize returns the size in the records of an extended header ("LENGTH key=value\n"); -1: there
// is none.
func paxSize(b []byte) (int64, error) {
	size := int64(-1)
	for len(b) > 0 {
		space := bytes.IndexByte(b, ' ')
		if space < 1 || !digits(b[:space]) {
			return 0, faultTarHeader
		}
		n, err := strconv.Atoi(string(b[:space]))
		if err != nil || n <= space+1 || n > len(b) || b[n-1] != '\n' {
			return 0, faultTarHeader
		}
		key, value, ok := bytes.Cut(b[space+1:n-1], []byte{'='})
		b = b[n:]
		switch {
		case !ok || string(key) == "path": // a path would replace the name in the header
			return 0, faultTarHeader
		case string(key) == "size":
			if size, err = strconv.ParseInt(string(value), 10, 64); err != nil || size < 0 {
				return 0, faultTarHeader
			}
		}
	}
	return size, nil
}

// nonZero returns the index of the first byte that is not zero, or -1.
func nonZero(p []byte) int {
	for i, c := range p {
		if c != 0 {
			return i
		}
	}
	return -1
}
