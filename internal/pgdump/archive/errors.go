package archive

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
)

// StructureError says that a dump is incomplete or has a structure that pg_dump does not write.
type StructureError struct {
	Format export.Format
	Offset int64  // in the plain dump, near the fault
	Reason string // constant words and sizes; never data of the dump

	// Routine is the routine that psql cannot read back, as the script names it; empty: the fault is
	// another one. pg_dump wrote the script as it should, but no restore of it succeeds.
	Routine string

	newer bool
}

func (e *StructureError) Error() string {
	return fmt.Sprintf("%s dump: byte %d: %s", e.Format, e.Offset, e.Reason)
}

// Unwrap returns export.ErrNewerFormat for an archive of a version newer than the known ones: it
// may be complete, but it cannot be read. For a script that psql cannot read back it returns an
// *export.UnreadableError.
func (e *StructureError) Unwrap() error {
	switch {
	case e.newer:
		return export.ErrNewerFormat
	case e.Routine != "":
		return &export.UnreadableError{Object: e.Routine}
	}
	return nil
}

// fault is the reason why a scanner stopped. The Checker adds the offset and makes it a
// StructureError.
type fault string

func (f fault) Error() string { return string(f) }
