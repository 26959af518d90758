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

// StructureError says that a dump is not whole, or not what pg_dump writes.
type StructureError struct {
	Format Format
	Offset int64  // in the plain dump, near the fault
	Reason string // constant words and sizes; never data of the dump
	// Newer says that the dump is an archive of a version that is newer than any known: it may
	// be whole, but it cannot be read.
	Newer bool
}

func (e *StructureError) Error() string {
	return fmt.Sprintf("%s dump: byte %d: %s", e.Format, e.Offset, e.Reason)
}

// fault is why a scanner stopped. The checker adds where, and makes it a StructureError.
type fault string

func (f fault) Error() string { return string(f) }
