package storage

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a key. A segment leaves room for the longest suffix within the 255 bytes of a
// file name; a key and its suffix stay within S3's 1,024 bytes beside a prefix.
const (
	maxKey     = 700
	maxSegment = 220
)

const (
	manifestSuffix = ".manifest.json"
	receiptSuffix  = ".receipt.json"
	verifiedSuffix = ".receipt-verified.json"
	partInfix      = ".part-"
	partDigits     = 5
	// MaxParts bounds the parts of one export: what five digits name.
	MaxParts = 99999
)

// Kind is what a blob is for.
type Kind int

const (
	// Data is the export itself or one part of it.
	Data Kind = iota
	// Receipt is what was signed of the export.
	Receipt
	// Verification is what was signed once the export had been verified.
	Verification
	// Manifest is the blob that is written last.
	Manifest
)

// Name says which blob of which export it is.
type Name struct {
	Key  string
	Kind Kind
	// Part is 0 for a whole export, 1 and up for the parts of one. 0 for all but Data.
	Part int
}

// suffixes end the names of blobs that are not data.
var suffixes = map[Kind]string{Manifest: manifestSuffix, Receipt: receiptSuffix, Verification: verifiedSuffix}

// String is the blob's path within a destination: the key, or the key with ".part-00001",
// ".manifest.json", ".receipt.json" or ".receipt-verified.json".
func (n Name) String() string {
	switch {
	case n.Kind != Data:
		return n.Key + suffixes[n.Kind]
	case n.Part > 0:
		return fmt.Sprintf("%s%s%0*d", n.Key, partInfix, partDigits, n.Part)
	}
	return n.Key
}

// Check returns ErrBadKey for a name that must not be used.
func (n Name) Check() error {
	if n.Part < 0 || n.Part > MaxParts || n.Kind != Data && n.Part != 0 {
		return fmt.Errorf("%w: part %d", ErrBadKey, n.Part)
	}
	return CheckKey(n.Key)
}

// ParseName is the reverse of Name.String. ErrBadKey: the path is none of ours.
func ParseName(path string) (Name, error) {
	for kind, suffix := range suffixes {
		if key, ok := strings.CutSuffix(path, suffix); ok {
			n := Name{Key: key, Kind: kind}
			return n, n.Check()
		}
	}
	n := Name{Key: path}
	if key, part, ok := cutPart(path); ok {
		n = Name{Key: key, Part: part}
	}
	return n, n.Check()
}

// CheckKey accepts relative slash-separated paths. Each segment is 1 to 220 letters, digits,
// '.', '_' and '-' of ASCII, does not begin or end with '.', and does not look like a
// blob's suffix; a key does not end like a receipt. Everything else is ErrBadKey.
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: longer than %d bytes", ErrBadKey, maxKey)
	}
	if strings.HasSuffix(key, receiptSuffix) || strings.HasSuffix(key, verifiedSuffix) {
		return fmt.Errorf("%w: it ends like a receipt", ErrBadKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty segment", ErrBadKey)
	case len(s) > maxSegment:
		return fmt.Errorf("%w: segment longer than %d bytes", ErrBadKey, maxSegment)
	case s[0] == '.' || s[len(s)-1] == '.':
		return fmt.Errorf("%w: segment begins or ends with a dot", ErrBadKey)
	case strings.HasSuffix(s, manifestSuffix):
		return fmt.Errorf("%w: segment ends like a manifest", ErrBadKey)
	}
	if _, _, ok := cutPart(s); ok {
		return fmt.Errorf("%w: segment ends like a part", ErrBadKey)
	}
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("%w: character %q", ErrBadKey, c)
		}
	}
	return nil
}

// cutPart splits "<key>.part-00012". Five digits exactly, and not part 0.
func cutPart(s string) (key string, part int, ok bool) {
	i := len(s) - len(partInfix) - partDigits
	if i < 0 || s[i:i+len(partInfix)] != partInfix {
		return "", 0, false
	}
	digits := s[i+len(partInfix):]
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return "", 0, false
		}
	}
	part, err := strconv.Atoi(digits)
	return s[:i], part, err == nil && part > 0
}
