package events

import (
	"strconv"
	"time"
)

// Progress says how far an attempt is, at most once a second. It is not stored: it may
// be lost.
type Progress struct {
	RequestID   string `json:"request_id"`
	ProjectID   string `json:"project_id"`
	Attempt     int    `json:"attempt"`      // from 1
	SizeBytes   int64  `json:"size_bytes"`   // read from pg_dump so far
	StoredBytes int64  `json:"stored_bytes"` // compressed and encrypted so far
	// EstimatedBytes of table data; 0 is not known.
	EstimatedBytes int64 `json:"estimated_bytes,omitzero"`
	// Table is the table in the stream now, for a human; may be empty.
	Table string    `json:"table,omitempty"`
	At    time.Time `json:"at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (p *Progress) about() (project, request string, trace *Trace) {
	return p.ProjectID, p.RequestID, &p.Trace
}

// Encode encodes p. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (p Progress) Encode(source string) (Message, error) {
	if p.At.IsZero() {
		return Message{}, invalid("at", "is missing")
	}
	p.At = p.At.UTC()
	p.Table = oneLine(p.Table, maxTable)
	return encode(p, envelope{
		eventType: TypeProgress,
		natsSubj:  EventSubject(TypeProgress, p.ProjectID, p.RequestID),
		project:   p.ProjectID,
		request:   p.RequestID,
		idSuffix:  "." + strconv.Itoa(p.Attempt) + "." + strconv.FormatInt(p.At.UnixMilli(), 10),
		at:        p.At,
		trace:     p.Trace,
	}, source)
}
