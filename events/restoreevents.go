package events

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// RestoredExport is the export of a restore, with LatestExport and LatestVerified resolved.
type RestoredExport struct {
	ProjectID string `json:"project_id"`
	RequestID string `json:"request_id"`
}

// RestoreStarted says that an attempt at a restore begins.
type RestoreStarted struct {
	RestoreID string         `json:"restore_id"`
	ProjectID string         `json:"project_id"`
	Attempt   int            `json:"attempt"` // from 1
	From      RestoredExport `json:"from"`
	Mode      RestoreMode    `json:"mode"`
	Plan      bool           `json:"plan,omitzero"`
	// StoredBytes of the export; 0 is not known.
	StoredBytes int64     `json:"stored_bytes,omitzero"`
	StartedAt   time.Time `json:"started_at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (s *RestoreStarted) about() (project, request string, trace *Trace) {
	return s.ProjectID, s.RestoreID, &s.Trace
}

// Encode encodes s. The error is an *InvalidError. source names the publisher, as a URI reference.
func (s RestoreStarted) Encode(source string) (Message, error) {
	if s.StartedAt.IsZero() {
		return Message{}, invalid("started_at", "is missing")
	}
	s.StartedAt = s.StartedAt.UTC()
	return encode(s, envelope{
		eventType: TypeRestoreStarted,
		natsSubj:  EventSubject(TypeRestoreStarted, s.ProjectID, s.RestoreID),
		project:   s.ProjectID,
		request:   s.RestoreID,
		idSuffix:  "." + strconv.Itoa(s.Attempt),
		at:        s.StartedAt,
		trace:     s.Trace,
	}, source)
}

// RestoreProgress says how far an attempt is, at most once a second. It is not stored: it may be
// lost.
type RestoreProgress struct {
	RestoreID string `json:"restore_id"`
	ProjectID string `json:"project_id"`
	Attempt   int    `json:"attempt"` // from 1
	// Stage is "checking" before anything is changed, and "restoring" after; more may be added.
	Stage       string    `json:"stage"`
	ReadBytes   int64     `json:"read_bytes"`   // stored bytes read in this stage
	StoredBytes int64     `json:"stored_bytes"` // of the export
	At          time.Time `json:"at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (p *RestoreProgress) about() (project, request string, trace *Trace) {
	return p.ProjectID, p.RestoreID, &p.Trace
}

// Encode encodes p. The error is an *InvalidError. source names the publisher, as a URI reference.
func (p RestoreProgress) Encode(source string) (Message, error) {
	if p.At.IsZero() {
		return Message{}, invalid("at", "is missing")
	}
	p.At = p.At.UTC()
	return encode(p, envelope{
		eventType: TypeRestoreProgress,
		natsSubj:  EventSubject(TypeRestoreProgress, p.ProjectID, p.RestoreID),
		project:   p.ProjectID,
		request:   p.RestoreID,
		idSuffix:  "." + strconv.Itoa(p.Attempt) + "." + strconv.FormatInt(p.At.UnixMilli(), 10),
		at:        p.At,
		trace:     p.Trace,
	}, source)
}

// KeptSchema is a schema that RestoreReplace set aside: what the target held before.
type KeptSchema struct {
	Schema string    `json:"schema"` // the name under which it is kept
	Until  time.Time `json:"until"`  // when it is dropped
}

// RestoreCompleted says that the target holds the export, or answers a plan. It is one of a
// restore's two possible outcomes.
type RestoreCompleted struct {
	RestoreID string         `json:"restore_id"`
	ProjectID string         `json:"project_id"`
	Attempt   int            `json:"attempt"` // the one that succeeded, from 1
	From      RestoredExport `json:"from"`
	Mode      RestoreMode    `json:"mode"`
	// Plan says that nothing was changed: Tables and Rows are what the restore would restore.
	Plan bool `json:"plan,omitzero"`
	// Schemas of the target that were restored, or that hold the restored tables.
	Schemas []string `json:"schemas"`
	Tables  int64    `json:"tables"` // with rows
	Rows    int64    `json:"rows"`
	// SHA256 is of the export's stored bytes, lower-case hexadecimal. Empty: they were not read.
	SHA256        string `json:"sha256,omitempty"`
	ServerVersion string `json:"server_version"` // of the target
	// Kept are the schemas that RestoreReplace set aside.
	Kept []KeptSchema `json:"kept,omitempty"`
	// Remarks say what could not come along, for a human.
	Remarks     []string          `json:"remarks,omitempty"`
	StartedAt   time.Time         `json:"started_at"`
	FinishedAt  time.Time         `json:"finished_at"`
	DurationMS  int64             `json:"duration_ms"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// Request is the request in canonical form; nil when the publisher left it out.
	Request *RestoreRequested `json:"request,omitzero"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (c *RestoreCompleted) about() (project, request string, trace *Trace) {
	return c.ProjectID, c.RestoreID, &c.Trace
}

// Encode encodes c. Free text is cut to the contract's limits. The error is an *InvalidError.
// source names the publisher, as a URI reference.
func (c RestoreCompleted) Encode(source string) (Message, error) {
	switch {
	case c.StartedAt.IsZero():
		return Message{}, invalid("started_at", "is missing")
	case c.FinishedAt.IsZero():
		return Message{}, invalid("finished_at", "is missing")
	}
	c.StartedAt, c.FinishedAt = c.StartedAt.UTC(), c.FinishedAt.UTC()
	c.ServerVersion = oneLine(c.ServerVersion, maxVersion)
	c.Remarks = cutRemarks(c.Remarks)
	c.Kept = slices.Clone(c.Kept)
	for i := range c.Kept {
		c.Kept[i].Until = c.Kept[i].Until.UTC()
	}
	return encode(c, envelope{
		eventType: TypeRestoreCompleted,
		natsSubj:  EventSubject(TypeRestoreCompleted, c.ProjectID, c.RestoreID),
		project:   c.ProjectID,
		request:   c.RestoreID,
		at:        c.FinishedAt,
		trace:     c.Trace,
	}, source)
}

// RestoreFailed says that the restore ended and the target is as it was before, except with the code
// codes.RestoreUnknown. It is one of a restore's two possible outcomes.
type RestoreFailed struct {
	RestoreID string `json:"restore_id"`
	// ProjectID is NoProject for a request in which no valid project id could be read.
	ProjectID string     `json:"project_id"`
	Attempts  int        `json:"attempts"` // 0 when none was needed to refuse
	Code      codes.Code `json:"code"`
	// Permanent says that asking again without a change cannot help.
	Permanent bool `json:"permanent"`
	// Message is the cause for a human: no secret, no connection string, no path of the server.
	Message string `json:"message"`
	// Request is the request in canonical form; nil when it could not be decoded.
	Request *RestoreRequested `json:"request,omitzero"`
	// StartedAt is when the last attempt began; zero when there was none.
	StartedAt   time.Time         `json:"started_at,omitzero"`
	FinishedAt  time.Time         `json:"finished_at"`
	DurationMS  int64             `json:"duration_ms"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (f *RestoreFailed) about() (project, request string, trace *Trace) {
	return f.ProjectID, f.RestoreID, &f.Trace
}

// Encode encodes f. Free text is cut to the contract's limits. The error is an *InvalidError.
// source names the publisher, as a URI reference.
func (f RestoreFailed) Encode(source string) (Message, error) {
	if f.FinishedAt.IsZero() {
		return Message{}, invalid("finished_at", "is missing")
	}
	f.FinishedAt = f.FinishedAt.UTC()
	if !f.StartedAt.IsZero() {
		f.StartedAt = f.StartedAt.UTC()
	}
	f.Message = oneLine(f.Message, maxText)
	return encode(f, envelope{
		eventType: TypeRestoreFailed,
		natsSubj:  EventSubject(TypeRestoreFailed, f.ProjectID, f.RestoreID),
		project:   f.ProjectID,
		request:   f.RestoreID,
		at:        f.FinishedAt,
		trace:     f.Trace,
	}, source)
}

// cutRemarks drops empty remarks and keeps the first ones within the limits.
func cutRemarks(in []string) []string {
	var out []string
	for _, r := range in {
		if r = oneLine(r, maxText); strings.TrimSpace(r) != "" {
			out = append(out, r)
		}
	}
	if more := len(out) - maxWarnings; more > 0 {
		out = append(out[:maxWarnings-1], "and "+strconv.Itoa(more+1)+" more remarks")
	}
	return out
}
