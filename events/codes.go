package events

// Code is a stable machine word for why a request failed. New codes may be added within
// v1: treat one you do not know by Failed.Permanent.
type Code string

// The known codes that are permanent: asking again without a change cannot help.
const (
	CodeInvalidRequest   Code = "invalid_request"
	CodeRequestConflict  Code = "request_conflict"  // the same id came with other content before
	CodeProjectNotFound  Code = "project_not_found" // unknown and suspended alike
	CodeSchemaNotAllowed Code = "schema_not_allowed"
	CodeSchemaNotFound   Code = "schema_not_found" // the project's own schema is missing in the database
	CodeSourceAuthFailed Code = "source_auth_failed"
	CodeSourceForbidden  Code = "source_forbidden"   // the role lacks a right
	CodeSourceNotFound   Code = "source_not_found"   // the database does not exist
	CodeRowLevelSecurity Code = "row_level_security" // a policy would hide rows
	CodeVersionMismatch  Code = "version_mismatch"   // no pg_dump as new as the server
	CodeSourceCorrupt    Code = "source_corrupt"
	CodeDumpTimeout      Code = "dump_timeout"
	CodeSizeLimit        Code = "size_limit"
	CodeSpoolLimit       Code = "spool_limit" // of format directory: the largest tables do not fit into the worker's spool
	CodeCancelled        Code = "cancelled"
	CodeStorageRefused   Code = "storage_refused" // a token, a right, a bucket or a chat is missing
)

// The known codes that are worth another try.
const (
	CodeSourceUnavailable  Code = "source_unavailable"
	CodeLockTimeout        Code = "lock_timeout"
	CodeDumpStalled        Code = "dump_stalled"      // no progress for too long
	CodeDumpFailed         Code = "dump_failed"       // pg_dump failed and the source gives no clearer reason
	CodeDumpIncomplete     Code = "dump_incomplete"   // the dump's structure or its rows do not add up
	CodeSpoolUnavailable   Code = "spool_unavailable" // of format directory: the spool's disk is full or cannot be used
	CodeStorageUnavailable Code = "storage_unavailable"
	CodeStorageFull        Code = "storage_full"
	CodeUploadTimeout      Code = "upload_timeout" // the storage was too slow for its time budget
	CodeWorkerLost         Code = "worker_lost"    // deliveries used up without an answer
	CodeInterrupted        Code = "interrupted"    // the worker was told to stop
	CodeInternalError      Code = "internal_error"
)
