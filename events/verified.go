package events

import (
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Verified says that a verifier read every copy of an export back, restored one into a
// scratch database, and found all that was promised. It follows a Completed once, and once more for each order to
// verify the export again.
type Verified struct {
	RequestID string `json:"request_id"`
	ProjectID string `json:"project_id"`
	Attempt   int    `json:"attempt"` // the one that made the export, from 1
	// Copies were each read to the end and hold the hashed bytes. The first was restored.
	Copies      []VerifiedCopy `json:"copies"`
	SHA256      string         `json:"sha256"` // of the stored bytes, lower-case hexadecimal
	StoredBytes int64          `json:"stored_bytes"`
	DumpSHA256  string         `json:"dump_sha256"` // of the dump itself
	SizeBytes   int64          `json:"size_bytes"`  // of the dump itself
	// Tables and Rows are as counted in the dump and in the scratch database, table by
	// table, but for tables that could not be made there.
	Tables        int64     `json:"tables"`
	Rows          int64     `json:"rows"`
	ServerVersion string    `json:"server_version"` // of the scratch server
	CheckMS       int64     `json:"check_ms"`       // reading and checking all copies
	RestoreMS     int64     `json:"restore_ms"`     // feeding and counting
	StartedAt     time.Time `json:"started_at"`     // by the verifier's clock
	FinishedAt    time.Time `json:"finished_at"`
	DurationMS    int64     `json:"duration_ms"` // from StartedAt to FinishedAt
	// Unchecked counts statements of the dump, and tables, that could not be tried on the scratch
	// server for want of rights or of what other schemas hold.
	Unchecked int64 `json:"unchecked,omitzero"`
	// Receipt is the signed receipt of the verification; nil where the verifier signs none.
	Receipt *Receipt `json:"receipt,omitzero"`

	// OrderedAt is when a further verification was ordered; zero for the first one, which follows the
	// Completed. It makes the event's id another one.
	OrderedAt time.Time `json:"-"`
	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// VerifiedCopy is a copy that was read back.
type VerifiedCopy struct {
	Destination string `json:"destination"`
	URI         string `json:"uri"` // as in Completed
}

func (v *Verified) about() (project, request string, trace *Trace) {
	return v.ProjectID, v.RequestID, &v.Trace
}

// Encode encodes v. The error is an *InvalidError. source names the publisher, as a
// URI reference.
func (v Verified) Encode(source string) (Message, error) {
	switch {
	case v.StartedAt.IsZero():
		return Message{}, invalid("started_at", "is missing")
	case v.FinishedAt.IsZero():
		return Message{}, invalid("finished_at", "is missing")
	}
	v.StartedAt, v.FinishedAt = v.StartedAt.UTC(), v.FinishedAt.UTC()
	v.ServerVersion = oneLine(v.ServerVersion, maxVersion)
	return encode(v, envelope{
		eventType: TypeVerified,
		natsSubj:  EventSubject(TypeVerified, v.ProjectID, v.RequestID),
		project:   v.ProjectID,
		request:   v.RequestID,
		at:        v.FinishedAt,
		idSuffix:  orderSuffix(v.OrderedAt),
		trace:     v.Trace,
	}, source)
}

// VerificationFailed says that an export is not what its Completed promised. A verification
// that could not be made at all is never announced.
type VerificationFailed struct {
	RequestID   string     `json:"request_id"`
	ProjectID   string     `json:"project_id"`
	Attempt     int        `json:"attempt"` // the one that made the export, from 1
	Destination string     `json:"destination"`
	Code        codes.Code `json:"code"`
	// Message is the cause for a human: no secret, no row, no path of the server.
	Message    string    `json:"message"`
	SHA256     string    `json:"sha256"`     // that was promised
	StartedAt  time.Time `json:"started_at"` // by the verifier's clock
	FinishedAt time.Time `json:"finished_at"`
	DurationMS int64     `json:"duration_ms"` // from StartedAt to FinishedAt

	// OrderedAt is as in Verified.
	OrderedAt time.Time `json:"-"`
	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// orderSuffix returns the part of an event's id that tells verifications of one export apart.
func orderSuffix(ordered time.Time) string {
	if ordered.IsZero() {
		return ""
	}
	return "." + strconv.FormatInt(ordered.UnixMilli(), 10)
}

func (f *VerificationFailed) about() (project, request string, trace *Trace) {
	return f.ProjectID, f.RequestID, &f.Trace
}

// Encode encodes f. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (f VerificationFailed) Encode(source string) (Message, error) {
	switch {
	case f.StartedAt.IsZero():
		return Message{}, invalid("started_at", "is missing")
	case f.FinishedAt.IsZero():
		return Message{}, invalid("finished_at", "is missing")
	}
	f.StartedAt, f.FinishedAt = f.StartedAt.UTC(), f.FinishedAt.UTC()
	f.Message = oneLine(f.Message, maxText)
	return encode(f, envelope{
		eventType: TypeVerificationFailed,
		natsSubj:  EventSubject(TypeVerificationFailed, f.ProjectID, f.RequestID),
		project:   f.ProjectID,
		request:   f.RequestID,
		at:        f.FinishedAt,
		idSuffix:  orderSuffix(f.OrderedAt),
		trace:     f.Trace,
	}, source)
}
