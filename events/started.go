package events

import (
	"strconv"
	"time"
)

// Started says that an attempt's dump runs. A request that is tried again has one for
// each attempt.
type Started struct {
	RequestID   string      `json:"request_id"`
	ProjectID   string      `json:"project_id"`
	Attempt     int         `json:"attempt"` // from 1
	Format      Format      `json:"format"`
	Compression Compression `json:"compression"`
	// CompressionLevel is empty without a compression, and in events of older workers.
	CompressionLevel CompressionLevel `json:"compression_level,omitempty"`
	Schemas          []string         `json:"schemas"`
	// EstimatedBytes of table data, from the catalogue's statistics; 0 is not known.
	EstimatedBytes int64  `json:"estimated_bytes,omitzero"`
	ServerVersion  string `json:"server_version"`
	PgDumpVersion  string `json:"pg_dump_version"`
	// Warnings say what a dump of these schemas leaves out, for a human.
	Warnings  []string  `json:"warnings,omitempty"`
	StartedAt time.Time `json:"started_at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (s *Started) about() (project, request string, trace *Trace) {
	return s.ProjectID, s.RequestID, &s.Trace
}

// Encode encodes s. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (s Started) Encode(source string) (Message, error) {
	if s.StartedAt.IsZero() {
		return Message{}, invalid("started_at", "is missing")
	}
	s.StartedAt = s.StartedAt.UTC()
	s.ServerVersion = oneLine(s.ServerVersion, maxVersion)
	s.PgDumpVersion = oneLine(s.PgDumpVersion, maxVersion)
	s.Warnings = cutWarnings(s.Warnings)
	return encode(s, envelope{
		eventType: TypeStarted,
		natsSubj:  EventSubject(TypeStarted, s.ProjectID, s.RequestID),
		project:   s.ProjectID,
		request:   s.RequestID,
		idSuffix:  "." + strconv.Itoa(s.Attempt),
		at:        s.StartedAt,
		trace:     s.Trace,
	}, source)
}
