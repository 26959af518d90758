package seal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed says that a Stream or an opened artifact was read after its Close.
	ErrClosed = errors.New("seal: read after close")
	// ErrEncrypted says that an artifact is encrypted and Open was given no identity.
	ErrEncrypted = errors.New("seal: the artifact is encrypted and no identity was given")
)

// SizeLimitError says that a dump is larger than its cap.
type SizeLimitError struct {
	Limit int64 // bytes of the plain dump
}

func (e *SizeLimitError) Error() string {
	return fmt.Sprintf("the dump exceeds the limit of %d bytes", e.Limit)
}
