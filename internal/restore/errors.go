package restore

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrUnverified says that what is stored is not what its manifest says.
	ErrUnverified = errors.New("the export does not verify")
	// ErrIdentity says that the export is encrypted and none of the given identities opens
	// it. Whether it is whole is not known.
	ErrIdentity = errors.New("no given identity opens the export")
	// ErrOccupied says that the target holds objects in one of the export's schemas.
	// Extensions and their members do not count.
	ErrOccupied = errors.New("the target is not empty")
	// ErrTool says that psql or pg_restore is missing or too old.
	ErrTool = errors.New("no suitable PostgreSQL client tools")
	// ErrTarget says that the target cannot be used now; trying again may help.
	ErrTarget = errors.New("the target database cannot be used")
	// ErrScratch says that the export could not be unpacked: a matter of this machine's disk.
	ErrScratch = errors.New("the scratch folder cannot be used")
	// ErrJobs says that the export, or what is asked for, cannot be restored by several
	// connections.
	ErrJobs = errors.New("jobs cannot be used here")
	// ErrSteps says that what is asked for cannot be done without the one transaction.
	ErrSteps = errors.New("the one transaction cannot be given up here")
	// ErrLocks says that the target's lock table is too small for all in one transaction.
	ErrLocks = errors.New("the target has too few locks for one transaction")
	// ErrPartial says that a restore by several connections failed on its way: the target
	// holds part of the export.
	ErrPartial = errors.New("the target holds part of the export now")
	// ErrTimeout says that the restore took longer than it may.
	ErrTimeout = errors.New("the restore took too long")
)

// RejectedError says that the target refused the export's own statements: nothing was
// changed, unless ErrPartial is in the chain. The words are the server's and may quote rows.
type RejectedError struct {
	SQLState string // empty: not known
	Stderr   string
	// Missing says what the export needs and the target lacks: what the refusal may come from.
	Missing []string
	// Warnings are the export's own: they name what it needs of other schemas, too.
	Warnings []string
}

func (e *RejectedError) Error() string {
	state := "no SQLSTATE known"
	if e.SQLState != "" {
		state = "SQLSTATE " + e.SQLState
	}
	text := fmt.Sprintf("the target refused the export (%s): %s", state, strings.TrimSpace(e.Stderr))
	if len(e.Missing) > 0 {
		text += "\nThe export needs what the target lacks: " + strings.Join(e.Missing, "; ")
	}
	if len(e.Warnings) > 0 {
		text += "\nThe export's warnings: " + strings.Join(e.Warnings, "; ")
	}
	return text
}

// DependentsError says that Target.Clean would drop objects outside of the export's schemas,
// which depend on what is in them. Nothing was dropped.
type DependentsError struct {
	Objects []string // kind and qualified name of each
}

func (e *DependentsError) Error() string {
	return "objects outside of the export's schemas would be dropped too, nothing was changed: " + strings.Join(e.Objects, ", ")
}

func unverified(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnverified, fmt.Errorf(format, args...))
}
