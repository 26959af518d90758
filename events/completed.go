package events

import (
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Encryption is how stored bytes are protected.
type Encryption string

// The encryptions of the contract.
const (
	EncryptionNone Encryption = "none"
	EncryptionAge  Encryption = "age" // the age file format
)

// Completed says that the export is complete and stored. It is one of a request's two
// possible outcomes.
type Completed struct {
	RequestID   string      `json:"request_id"`
	ProjectID   string      `json:"project_id"`
	Attempt     int         `json:"attempt"` // the one that succeeded, from 1
	Format      Format      `json:"format"`
	Compression Compression `json:"compression"`
	// CompressionLevel is empty without a compression, and in outcomes of older workers.
	CompressionLevel CompressionLevel `json:"compression_level,omitempty"`
	Encryption       Encryption       `json:"encryption"`
	Schemas          []string         `json:"schemas"`
	SizeBytes        int64            `json:"size_bytes"`   // what pg_dump wrote
	StoredBytes      int64            `json:"stored_bytes"` // what is stored
	SHA256           string           `json:"sha256"`       // of the stored bytes, lower-case hexadecimal
	// Storage has one entry for each destination, the primary one first.
	Storage []Location `json:"storage"`
	// Tables and Rows are as counted in the stream and in the snapshot. Both counts are
	// equal table by table, or it is no success.
	Tables        int64  `json:"tables"`
	Rows          int64  `json:"rows"`
	ServerVersion string `json:"server_version"`
	PgDumpVersion string `json:"pg_dump_version"`
	// Warnings say what a dump of these schemas leaves out, for a human.
	Warnings []string `json:"warnings,omitempty"`
	// Recipients are the fingerprints of the public keys that the export is encrypted to,
	// sorted. Empty: it is not encrypted.
	Recipients []string `json:"recipients,omitempty"`
	// Receipt is the signed receipt; nil where the worker signs none.
	Receipt    *Receipt  `json:"receipt,omitzero"`
	StartedAt  time.Time `json:"started_at"`  // of the successful attempt
	FinishedAt time.Time `json:"finished_at"` // when the outcome was recorded
	// DurationMS is the milliseconds from StartedAt to FinishedAt.
	DurationMS  int64             `json:"duration_ms"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// Request is the request in canonical form; nil when the publisher left it out.
	Request *Requested `json:"request,omitzero"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// Receipt names the signed receipt of an export: a DSSE envelope over an in-toto statement.
type Receipt struct {
	SHA256 string `json:"sha256"` // of the receipt file, lower-case hexadecimal
	// KeyID is the fingerprint of the Ed25519 public key that verifies it.
	KeyID string `json:"key_id"`
	// Copies are where it lies, beside the export.
	Copies []StoredCopy `json:"copies"`
}

// LocationStatus says whether a destination holds an artifact.
type LocationStatus string

// The statuses of a destination.
const (
	LocationStored LocationStatus = "stored"
	LocationFailed LocationStatus = "failed" // only an optional one, see Location.Code
)

// Location is where an artifact lies at one destination, or why it does not.
type Location struct {
	// Destination is its kind, as in "s3", with a number when there are several of the
	// kind, as in "s3-2". Encode fills an empty one in from the URI.
	Destination string         `json:"destination"`
	Status      LocationStatus `json:"status"`        // empty is encoded as LocationStored
	URI         string         `json:"uri,omitempty"` // when stored; never a token or a path of the server
	// Code and Message say why it failed.
	Code    codes.Code `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`
}

// normalized fills in what an encoded Location always has.
func (l Location) normalized() Location {
	if l.Status == "" {
		l.Status = LocationStored
	}
	if l.Destination == "" {
		l.Destination = "storage"
		if scheme, _, ok := strings.Cut(l.URI, ":"); ok {
			l.Destination = scheme
		}
	}
	if l.Message != "" {
		l.Message = oneLine(l.Message, maxText)
	}
	return l
}

func (c *Completed) about() (project, request string, trace *Trace) {
	return c.ProjectID, c.RequestID, &c.Trace
}

// Encode encodes c. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (c Completed) Encode(source string) (Message, error) {
	switch {
	case c.StartedAt.IsZero():
		return Message{}, invalid("started_at", "is missing")
	case c.FinishedAt.IsZero():
		return Message{}, invalid("finished_at", "is missing")
	}
	c.StartedAt, c.FinishedAt = c.StartedAt.UTC(), c.FinishedAt.UTC()
	c.ServerVersion = oneLine(c.ServerVersion, maxVersion)
	c.PgDumpVersion = oneLine(c.PgDumpVersion, maxVersion)
	c.Warnings = cutWarnings(c.Warnings)
	c.Storage = slices.Clone(c.Storage)
	for i, l := range c.Storage {
		c.Storage[i] = l.normalized()
	}
	return encode(c, envelope{
		eventType: TypeCompleted,
		natsSubj:  EventSubject(TypeCompleted, c.ProjectID, c.RequestID),
		project:   c.ProjectID,
		request:   c.RequestID,
		at:        c.FinishedAt,
		trace:     c.Trace,
	}, source)
}
