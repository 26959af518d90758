package events

import (
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Failed says that the request ended without an export, and that nothing of it is left
// in storage. It is one of a request's two possible outcomes.
type Failed struct {
	RequestID string `json:"request_id"`
	// ProjectID is NoProject for a request in which no valid project id could be read.
	ProjectID string `json:"project_id"`
	// Attempts that were made; 0 when none was needed to refuse.
	Attempts int        `json:"attempts"`
	Code     codes.Code `json:"code"`
	// Permanent says that asking again without a change cannot help.
	Permanent bool `json:"permanent"`
	// Message is the cause for a human: no secret, no connection string, no path of
	// the server.
	Message string `json:"message"`
	// Request is the request in canonical form, to be replayed; nil when it could not
	// be decoded.
	Request *Requested `json:"request,omitzero"`
	// StartedAt is when the last attempt began; zero when there was none.
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at"` // when the outcome was recorded
	// DurationMS is the milliseconds from StartedAt to FinishedAt; 0 without an attempt.
	DurationMS  int64             `json:"duration_ms"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (f *Failed) about() (project, request string, trace *Trace) {
	return f.ProjectID, f.RequestID, &f.Trace
}

// Encode encodes f. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (f Failed) Encode(source string) (Message, error) {
	if f.FinishedAt.IsZero() {
		return Message{}, invalid("finished_at", "is missing")
	}
	f.FinishedAt = f.FinishedAt.UTC()
	if !f.StartedAt.IsZero() {
		f.StartedAt = f.StartedAt.UTC()
	}
	f.Message = oneLine(f.Message, maxText)
	return encode(f, envelope{
		eventType: TypeFailed,
		natsSubj:  EventSubject(TypeFailed, f.ProjectID, f.RequestID),
		project:   f.ProjectID,
		request:   f.RequestID,
		at:        f.FinishedAt,
		trace:     f.Trace,
	}, source)
}
