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
	ErrOccupied = errors.New("the target is not empty")
	// ErrTool says that psql or pg_restore is missing or too old.
	ErrTool = errors.New("no suitable PostgreSQL client tools")
	// ErrTarget says that the target cannot be used now; trying again may help.
	ErrTarget = errors.New("the target database cannot be used")
	// ErrTimeout says that the restore took longer than it may.
	ErrTimeout = errors.New("the restore took too long")
)

// RejectedError says that the target refused the export's own statements: nothing was
// changed. The words are the server's and may quote rows.
type RejectedError struct {
	SQLState string // empty: not known
	Stderr   string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("the target refused the export (SQLSTATE %s): %s", e.SQLState, strings.TrimSpace(e.Stderr))
}

func unverified(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnverified, fmt.Errorf(format, args...))
}
