package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// MatchFile reads a whole file and compares it with the subject of a statement. ErrWrong: the file is a
// different one.
func MatchFile(s Statement, file string) (err error) {
	f, err := os.Open(file) // #nosec G304 -- the caller names the file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != s.SHA256() {
		return fmt.Errorf("%w: %s has %d bytes and the SHA-256 %s, the receipt is of %d bytes with %s", ErrWrong, file, n, got, s.Predicate.StoredBytes, s.SHA256())
	}
	return nil
}
