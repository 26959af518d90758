package export

import (
	"encoding/json"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// ID identifies a request. Request ids are unique within their project only, so that no project can
// use up the ids of another.
type ID struct {
	Project string `json:"project_id"`
	Request string `json:"request_id"`
}

func (id ID) String() string { return id.Project + "/" + id.Request }

// Request is a decoded backup.requested.
type Request struct {
	ID
	Schemas     []string         // empty: all of the project's
	Format      Format           // never empty
	Compression seal.Compression // never empty
	Level       seal.Level       // of the compression; empty: the project's, else the worker's
	Jobs        int              // of format directory; 0: by the size
	StoragePath string           // label under the project's prefix; may be empty
	// Recipients are public keys of the request, in addition to the operator's and the project's.
	Recipients  []string
	RequestedBy string
	Metadata    map[string]string
	Trace       Trace

	// encrypted reports whether the export will be encrypted, as known before the claim.
	encrypted bool

	// Payload is the request for a replay: canonical JSON of a valid request, the body as received (at
	// most 64 KiB) of a refused one.
	Payload []byte
	// Digest is the SHA-256 of Payload. The same ID with another digest is a conflict.
	Digest [32]byte
	// Refusal is set if the request could not be decoded or breaks the contract. It is recorded and
	// published like any other failure, and nothing is executed.
	Refusal *Fault
}

// Trace is W3C Trace Context. It is copied from a request to its outcome.
type Trace struct {
	Parent string `json:"traceparent,omitempty"`
	State  string `json:"tracestate,omitempty"`
}

// Project is a project in the control plane.
type Project struct {
	ID      string
	Name    string
	Schemas []string
	Role    string // role to dump as; empty: the login itself
	DSN     Secret // source database; empty: the default source
	// Recipients are public keys of the project, in addition to the operator's and the request's.
	Recipients []string
	Level      seal.Level // of the compression, unchecked; empty: the worker's
}

// Secret is a string that does not print.
type Secret = secret.String

// State is the state of a request in the ledger.
type State string

// The states of a request. Completed and Failed are terminal.
const (
	Waiting   State = "waiting" // claimed before, waits for its next delivery
	Running   State = "running"
	Completed State = "completed"
	Failed    State = "failed"
)

// Outcome is the terminal result of a request, as in the ledger and in the outcome event.
type Outcome struct {
	ID
	State      State           `json:"state"`   // Completed or Failed
	Attempt    int             `json:"attempt"` // attempts made; 0 when none was needed to refuse
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Payload    json.RawMessage `json:"request,omitempty"` // the request, when it was valid

	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Trace       Trace             `json:"trace,omitzero"`

	// Artifact is set when Completed.
	Artifact *Artifact `json:"artifact,omitempty"`

	// Restored is the result of a completed restore, as JSON. An export has none.
	Restored json.RawMessage `json:"restored,omitempty"`

	// Code, Permanent and Message are set when Failed.
	Code      codes.Code `json:"code,omitempty"`
	Permanent bool       `json:"permanent,omitempty"`
	Message   string     `json:"message,omitempty"`
}

// Artifact describes a stored export and the evidence that it is complete.
type Artifact struct {
	Format        Format           `json:"format"`
	Compression   seal.Compression `json:"compression"`
	Level         seal.Level       `json:"compression_level,omitempty"` // empty: no compression, or an earlier version did not record it
	Encryption    seal.Encryption  `json:"encryption"`
	Schemas       []string         `json:"schemas"`
	SizeBytes     int64            `json:"size_bytes"`       // what pg_dump wrote
	StoredBytes   int64            `json:"stored_bytes"`     // what is stored
	SHA256        string           `json:"sha256"`           // of the stored bytes, lower-case hex
	CRC32C        uint32           `json:"crc32c,omitempty"` // of the same; 0: not known, an earlier version did not keep it
	Tables        int              `json:"tables"`           // tables with data sections: the same in stream and snapshot
	Rows          int64            `json:"rows"`             // rows: the same in stream and snapshot
	ServerVersion string           `json:"server_version"`
	PgDumpVersion string           `json:"pg_dump_version"`
	Warnings      []string         `json:"warnings,omitempty"` // what a schema dump leaves out, for a human
	Needs         Needs            `json:"needs,omitzero"`     // what must be there before it is restored
	// Recipients are the fingerprints of the keys that it is encrypted to, sorted.
	Recipients []string `json:"recipients,omitempty"`
	// Receipt is the signed receipt; nil where the worker signs none.
	Receipt *Receipt `json:"receipt,omitempty"`
	Copies  []Copy   `json:"copies"` // one for each destination
}

// Receipt is a signed statement of an artifact.
type Receipt struct {
	SHA256 string `json:"sha256"` // of Envelope, lower-case hex
	KeyID  string `json:"key_id"` // of the public key that verifies it
	// Envelope is the receipt as it is stored beside the artifact.
	Envelope []byte `json:"envelope"`
}

// Needs are objects that an export refers to and does not contain. A database must have them before
// the export can be restored there. Names are the source's, not safe to show.
type Needs struct {
	// Extensions are in the order in which they can be created.
	Extensions []Extension `json:"extensions,omitempty"`
	Roles      []string    `json:"roles,omitempty"`   // that policies name
	Parents    []string    `json:"parents,omitempty"` // partitioned tables of other schemas: kind and qualified name
	Objects    []string    `json:"objects,omitempty"` // other ones of other schemas: kind and qualified name
	Casts      []Cast      `json:"casts,omitempty"`   // of the schemas' types and functions: no schema holds a cast
	// Private are routines and types of the export that PUBLIC has no right to, but would have after a
	// restore without rights: "ROUTINE " or "TYPE ", and the qualified name.
	Private  []string `json:"private,omitempty"`
	Labels   []string `json:"labels,omitempty"`   // providers of security labels
	Encoding string   `json:"encoding,omitempty"` // of the source, if it converts to no other: SQL_ASCII
}

// Extension is an extension of a database, and the schema that holds its objects.
type Extension struct {
	Name   string `json:"name"`
	Schema string `json:"schema"`
}

// Cast is a cast. It can be created once its types and its function exist. The names are qualified
// and quoted.
type Cast struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Function string `json:"function,omitempty"` // with its arguments; empty: none
	InOut    bool   `json:"inout,omitempty"`    // it converts by the text form
	Context  string `json:"context,omitempty"`  // AS ASSIGNMENT, AS IMPLICIT, or empty
}

// String returns the statement that creates the cast.
func (c Cast) String() string {
	how := " WITHOUT FUNCTION"
	switch {
	case c.Function != "":
		how = " WITH FUNCTION " + c.Function
	case c.InOut:
		how = " WITH INOUT"
	}
	if c.Context != "" {
		how += " " + c.Context
	}
	return "CREATE CAST (" + c.Source + " AS " + c.Target + ")" + how
}

// CopyStatus says whether a destination holds the artifact.
type CopyStatus string

// The statuses of a copy. Records from before there were several destinations have none, which
// means Stored.
const (
	Stored    CopyStatus = "stored"
	NotStored CopyStatus = "failed"
)

// Copy is the artifact at one destination, or the reason why it is missing there: an export
// completes although an optional destination failed.
type Copy struct {
	Destination string     `json:"destination,omitempty"` // its name, for instance "s3"
	Status      CopyStatus `json:"status,omitempty"`
	URI         string     `json:"uri,omitempty"` // where it lies; never a token or a server path; empty when failed
	// Receipt is where the receipt lies; empty when there is none.
	Receipt string `json:"receipt,omitempty"`
	// Code and Message say why it failed. They are safe to show.
	Code    codes.Code `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`
}

// Compression is the compression of the dump. Handlers use this name, so that they do not depend on
// seal.
type Compression = seal.Compression

// Level is the level of the compression, for the same reason.
type Level = seal.Level
