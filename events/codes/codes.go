// Package codes has the words by which events say why a request failed. It is part of the
// contract, and a leaf: the worker and its clients use the same names.
package codes

import "slices"

// Code is a stable machine word for why a request, an attempt or a copy failed. New codes may
// be added within v1: treat one that you do not know by Failed.Permanent.
type Code string

// The known codes that are permanent: asking again without a change cannot help.
const (
	InvalidRequest    Code = "invalid_request"
	RequestConflict   Code = "request_conflict"  // the same id came with other content before
	ProjectNotFound   Code = "project_not_found" // unknown and suspended alike
	SchemaNotAllowed  Code = "schema_not_allowed"
	SchemaNotFound    Code = "schema_not_found" // the project's own schema is missing in the database
	SourceAuthFailed  Code = "source_auth_failed"
	SourceForbidden   Code = "source_forbidden"   // the role lacks a right
	SourceNotFound    Code = "source_not_found"   // the database does not exist
	RowLevelSecurity  Code = "row_level_security" // a policy would hide rows
	VersionMismatch   Code = "version_mismatch"   // no pg_dump as new as the server, or one that writes unknown archives
	SourceCorrupt     Code = "source_corrupt"
	DumpTimeout       Code = "dump_timeout"
	SizeLimit         Code = "size_limit"
	RowTooLarge       Code = "row_too_large"      // a row that the server cannot send as text
	ScriptUnreadable  Code = "script_unreadable"  // of format sql: a routine that psql cannot read back
	SourcePooled      Code = "source_pooled"      // a pooler in front of the source makes a dump impossible
	FormatUnavailable Code = "format_unavailable" // the worker cannot write this format
	SpoolLimit        Code = "spool_limit"        // of format directory: the largest tables do not fit into the worker's spool
	Cancelled         Code = "cancelled"
	StorageRefused    Code = "storage_refused" // a token, a right, a bucket or a chat is missing
)

// The known codes that are worth another try.
const (
	SourceUnavailable  Code = "source_unavailable"
	LockTimeout        Code = "lock_timeout"
	DumpStalled        Code = "dump_stalled"      // no progress for too long
	DumpFailed         Code = "dump_failed"       // pg_dump failed and the source gives no clearer reason
	DumpIncomplete     Code = "dump_incomplete"   // the dump's structure or its rows do not add up
	SpoolUnavailable   Code = "spool_unavailable" // of format directory: the spool's disk is full or cannot be used
	StorageUnavailable Code = "storage_unavailable"
	StorageFull        Code = "storage_full"
	UploadTimeout      Code = "upload_timeout" // the storage was too slow for its time budget
	WorkerLost         Code = "worker_lost"    // deliveries used up without an answer
	Interrupted        Code = "interrupted"    // the worker was told to stop
	InternalError      Code = "internal_error"
)

// The codes of VerificationFailed.
const (
	// ExportMissing says that a destination does not hold the export it is said to.
	ExportMissing Code = "export_missing"
	// ExportDamaged says that what is stored is not what was promised.
	ExportDamaged Code = "export_damaged"
	// RestoreRejected says that the export is whole, and the scratch server refused its
	// statements: for instance for an extension that it does not have.
	RestoreRejected Code = "restore_rejected"
)

// The codes of RestoreFailed, beside those of other failures. They are permanent, but for the last three.
const (
	RestoreDisabled          Code = "restore_disabled"            // the operator has set no RESTORE_QUERY
	RestoreSourceNotAllowed  Code = "restore_source_not_allowed"  // the target does not accept that project's exports
	RestoreReplaceNotAllowed Code = "restore_replace_not_allowed" // the target may not be replaced
	RestoreImpossible        Code = "restore_impossible"          // the export cannot become what was asked for
	ExportNotFound           Code = "export_not_found"            // no such completed export, or it was deleted
	ExportLocked             Code = "export_locked"               // no identity of the restorer opens it
	TargetOccupied           Code = "target_occupied"             // mode create, and the target holds objects
	TargetAuthFailed         Code = "target_auth_failed"
	TargetForbidden          Code = "target_forbidden" // the login lacks a right
	TargetNotFound           Code = "target_not_found" // the database does not exist
	RestoreTimeout           Code = "restore_timeout"

	TargetUnavailable Code = "target_unavailable"
	TargetFull        Code = "target_full"
	// RestoreUnknown says that the target could not be asked any more whether it was changed. It is
	// the only code of a restore that may have changed the target.
	RestoreUnknown Code = "restore_unknown"
)

var permanent = []Code{
	InvalidRequest, RequestConflict, ProjectNotFound, SchemaNotAllowed, SchemaNotFound, SourceAuthFailed, SourceForbidden,
	SourceNotFound, RowLevelSecurity, VersionMismatch, SourceCorrupt, DumpTimeout, SizeLimit, RowTooLarge,
	ScriptUnreadable, SourcePooled, FormatUnavailable, SpoolLimit, Cancelled, StorageRefused,
}

// ofRestores are the codes of RestoreFailed. ExportDamaged and RestoreRejected are permanent there.
var ofRestores = struct{ permanent, transient []Code }{
	permanent: []Code{
		InvalidRequest, RequestConflict, ProjectNotFound, RestoreDisabled, RestoreSourceNotAllowed, RestoreReplaceNotAllowed,
		RestoreImpossible, ExportNotFound, ExportLocked, ExportDamaged, RestoreRejected, TargetOccupied, TargetAuthFailed,
		TargetForbidden, TargetNotFound, VersionMismatch, RestoreTimeout, Cancelled, StorageRefused,
	},
	transient: []Code{
		ExportMissing, TargetUnavailable, TargetFull, LockTimeout, StorageUnavailable, SpoolUnavailable, RestoreUnknown, WorkerLost,
		Interrupted, InternalError,
	},
}

var transient = []Code{
	SourceUnavailable, LockTimeout, DumpStalled, DumpFailed, DumpIncomplete, SpoolUnavailable, StorageUnavailable, StorageFull,
	UploadTimeout, WorkerLost, Interrupted, InternalError,
}

// Permanent reports whether trying again cannot help. It is false for an unknown code.
func (c Code) Permanent() bool {
	return slices.Contains(permanent, c) || slices.Contains(ofRestores.permanent, c)
}

// OfFailures returns the known codes of failed requests, the permanent ones first.
func OfFailures() []Code { return slices.Concat(permanent, transient) }

// OfRestores returns the known codes of failed restores, the permanent ones first.
func OfRestores() []Code { return slices.Concat(ofRestores.permanent, ofRestores.transient) }
