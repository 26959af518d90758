package restore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

var (
	// ErrUnverified means that the stored bytes differ from the manifest.
	ErrUnverified = errors.New("the export does not verify")
	// ErrIdentity means that the export is encrypted and no given identity opens it. It could not
	// be checked.
	ErrIdentity = errors.New("no given identity opens the export")
	// ErrOccupied means that the target holds objects in one of the export's schemas. Extensions
	// and their members do not count.
	ErrOccupied = errors.New("the target is not empty")
	// ErrTool means that psql or pg_restore is missing or too old.
	ErrTool = errors.New("no suitable PostgreSQL client tools")
	// ErrTarget means that the target cannot be used now; a retry may help.
	ErrTarget = errors.New("the target database cannot be used")
	// ErrScratch means that this machine's disk could not hold the unpacked export.
	ErrScratch = errors.New("the scratch folder cannot be used")
	// ErrJobs means that the export, or the other options, exclude several connections.
	ErrJobs = errors.New("jobs cannot be used here")
	// ErrSteps means that the other options need the one transaction.
	ErrSteps = errors.New("the one transaction cannot be given up here")
	// ErrLocks means that the target's lock table is too small for one transaction.
	ErrLocks = errors.New("the target has too few locks for one transaction")
	// ErrPartial means that a restore without the one transaction failed after it changed the
	// target, which now holds part of the export.
	ErrPartial = errors.New("the target holds part of the export now")
	// ErrPlacement means that the values of a Placement contradict each other or the export.
	ErrPlacement = errors.New("the placement is not possible")
	// ErrBusy means that another restore holds one of the target's schemas, or that the session of an
	// earlier attempt could not be ended. A retry may help.
	ErrBusy = errors.New("another restore holds the target's schema")
	// ErrInUse means that sessions in the target hold locks on what is to be moved aside, for longer
	// than Config.LockWait. A retry may help.
	ErrInUse = errors.New("the target's tables are in use")
	// ErrRefused means that Refuse was called for the placement's ID.
	ErrRefused = errors.New("the restore was refused before it committed")
	// ErrForbidden means that the login lacks a right in the target.
	ErrForbidden = errors.New("the login may not do this in the target")
	// ErrMarkers means that the schema pgcourier_restore of the target is not as this program makes it, so
	// that another role, or code of one, could change which restores have committed.
	ErrMarkers = errors.New("the schema pgcourier_restore of the target cannot be trusted, repair or drop it")
	// ErrUnknown means that the connection was lost during COMMIT, and the target could not be asked
	// whether it was executed. Place, Committed or Refuse with the same ID find out.
	ErrUnknown = errors.New("it is not known whether the target has committed")
	// ErrTimeout means that the restore exceeded Config.Timeout.
	ErrTimeout = errors.New("the restore took too long")
)

// RejectedError means that the target refused a statement of the export. Nothing was changed, unless
// ErrPartial is in the chain. Stderr is the server's message and may quote rows.
type RejectedError struct {
	SQLState string // empty: not known
	Stderr   string
	// Missing lists what the export needs and the target lacks: possible causes of the refusal.
	Missing []string
	// Warnings are those of the export. They also name what it needs of other schemas.
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

// DependentsError means that Target.Clean would drop objects outside of the export's schemas that
// depend on objects in them, or that objects depend on what a placement would replace. Nothing was
// changed.
type DependentsError struct {
	Objects []string // kind and qualified name of each

	replaced bool // by a placement
}

func (e *DependentsError) Error() string {
	if e.replaced {
		return "these objects depend on what would be replaced, nothing was changed: " + strings.Join(e.Objects, ", ")
	}
	return "objects outside of the export's schemas would be dropped too, nothing was changed: " + strings.Join(e.Objects, ", ")
}

// KeptError means that some of what Replace has kept is due and could not be dropped.
type KeptError struct {
	Stuck map[string]error // why, by schema
}

func (e *KeptError) Error() string {
	var all []string
	for _, schema := range slices.Sorted(maps.Keys(e.Stuck)) {
		all = append(all, fmt.Sprintf("schema %s: %s", quoted(schema), e.Stuck[schema]))
	}
	return strings.Join(all, "; ")
}

// Unwrap returns the causes.
func (e *KeptError) Unwrap() []error { return slices.Collect(maps.Values(e.Stuck)) }

// LeftOutError lists objects of the export that cannot be restored. Nothing was changed.
type LeftOutError struct {
	Objects []string
}

func (e *LeftOutError) Error() string {
	return "parts of the export cannot be restored, nothing was changed: " + strings.Join(e.Objects, "; ")
}

func unverified(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnverified, fmt.Errorf(format, args...))
}
