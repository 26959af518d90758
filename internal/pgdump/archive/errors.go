package archive

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
)

// StructureError says that a dump is not whole, or not what pg_dump writes.
type StructureError struct {
	Format export.Format
	Offset int64  // in the plain dump, near the fault
	Reason string // constant words and sizes; never data of the dump

	// Routine is the one that psql cannot read back, as the script names it; empty: that is not
	// the fault. Such a script is all that pg_dump writes, but no restore of it succeeds.
	Routine string

	newer bool
}

func (e *StructureError) Error() string {
	return fmt.Sprintf("%s dump: byte %d: %s", e.Format, e.Offset, e.Reason)
}

// Unwrap returns export.ErrNewerFormat for an archive of a newer version than any known: it may
// be whole, but it cannot be read. It returns an *export.UnreadableError for a script that psql
// cannot read back.
func (e *StructureError) Unwrap() error {
	switch {
	case e.newer:
		return export.ErrNewerFormat
	case e.Routine != "":
		return &export.UnreadableError{Object: e.Routine}
	}
	return nil
}

// fault is why a scanner stopped. The Checker adds where, and makes it a StructureError.
type fault string

func (f fault) Error() string { return string(f) }
