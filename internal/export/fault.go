package export

import (
	"errors"
	"fmt"
	"time"
)

// Code is a stable machine word for why a request or an attempt failed.
type Code string

// The codes of the contract. Permanent ones fail at once; transient ones are tried again
// while deliveries remain.
const (
	InvalidRequest   Code = "invalid_request"
	RequestConflict  Code = "request_conflict"  // the same id came with another payload before
	ProjectNotFound  Code = "project_not_found" // unknown and suspended alike
	SchemaNotAllowed Code = "schema_not_allowed"
	SchemaNotFound   Code = "schema_not_found" // the project's own schema is missing in the database

	SourceAuthFailed  Code = "source_auth_failed"
	SourceForbidden   Code = "source_forbidden"   // the role lacks a right
	SourceNotFound    Code = "source_not_found"   // the database does not exist
	RowSecurity       Code = "row_level_security" // a policy would hide rows
	VersionMismatch   Code = "version_mismatch"   // no pg_dump as new as the server
	SourceCorrupt     Code = "source_corrupt"
	SourceUnavailable Code = "source_unavailable"
	LockTimeout       Code = "lock_timeout"

	DumpTimeout    Code = "dump_timeout"
	DumpStalled    Code = "dump_stalled"    // no progress for too long
	DumpFailed     Code = "dump_failed"     // pg_dump failed and the source gives no clearer reason
	DumpIncomplete Code = "dump_incomplete" // the dump's structure or its rows do not add up
	SizeLimit      Code = "size_limit"
	SpoolLimit     Code = "spool_limit"       // one table, or those dumped at once, are larger than the spool's bound
	SpoolFailed    Code = "spool_unavailable" // the spool's disk is full or cannot be used

	StorageUnavailable Code = "storage_unavailable"
	StorageFull        Code = "storage_full"
	StorageRefused     Code = "storage_refused" // a token, a right, a bucket or a chat is missing
	UploadTimeout      Code = "upload_timeout"  // the storage was too slow for its time budget

	WorkerLost    Code = "worker_lost" // deliveries used up without an answer
	Interrupted   Code = "interrupted" // the worker was told to stop
	Cancelled     Code = "cancelled"
	InternalError Code = "internal_error"
)

var permanent = map[Code]bool{
	InvalidRequest: true, RequestConflict: true, ProjectNotFound: true,
	SchemaNotAllowed: true, SchemaNotFound: true,
	SourceAuthFailed: true, SourceForbidden: true, SourceNotFound: true,
	RowSecurity: true, VersionMismatch: true, SourceCorrupt: true,
	DumpTimeout: true, SizeLimit: true, SpoolLimit: true, Cancelled: true,
	StorageRefused: true,
}

// Permanent reports whether trying again cannot help.
func (c Code) Permanent() bool { return permanent[c] }

// Fault is a failure in the contract's words. Message is safe to show anybody: no
// secret, no DSN, no server path. Err is the cause, for the log only.
type Fault struct {
	Code    Code
	Message string
	Err     error
}

func (f *Fault) Error() string {
	if f.Err == nil {
		return string(f.Code) + ": " + f.Message
	}
	return string(f.Code) + ": " + f.Message + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// TurnError says that it is not a request's turn yet: another one of its project runs.
// Nothing was recorded and no attempt used. It is to be asked again after Wait.
type TurnError struct{ Wait time.Duration }

func (e *TurnError) Error() string {
	return "another request of the project runs, ask again in " + e.Wait.String()
}

// AsFault returns the Fault in err's chain, or err wrapped as InternalError.
func AsFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Code: InternalError, Message: "the worker met an unexpected error", Err: err}
}

var (
	// ErrSuperseded says that this attempt no longer owns its request: another one
	// does, or it ended. The attempt must delete what it stored and settle nothing.
	ErrSuperseded = errors.New("attempt superseded")
	// ErrUnavailable marks an outage of something of our own, which passes by itself. The
	// outcome of the call is unknown; calling again is safe. Retry goes on while it meets it.
	ErrUnavailable = errors.New("unavailable")
	// ErrLedgerUnavailable says that the control plane's database cannot be reached now.
	ErrLedgerUnavailable = fmt.Errorf("ledger %w", ErrUnavailable)
)
