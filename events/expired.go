package events

import (
	"strconv"
	"time"
)

// Expiring warns that a stored export will be deleted, because no retention rule keeps it.
// It comes at least the configured notice before. A warning that was given may come again
// with a later time, and may come to nothing when the rules change.
type Expiring struct {
	RequestID string `json:"request_id"`
	ProjectID string `json:"project_id"`
	// Reason says why no rule keeps it, for a human.
	Reason string `json:"reason"`
	// WarnedAt is when the warning was given, by the ledger's clock; ExpiresAt is when the
	// export is deleted at the earliest.
	WarnedAt  time.Time `json:"warned_at"`
	ExpiresAt time.Time `json:"expires_at"`
	// CompletedAt is when the export was made.
	CompletedAt time.Time    `json:"completed_at"`
	StoredBytes int64        `json:"stored_bytes"` // at each destination
	Copies      []StoredCopy `json:"copies"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// StoredCopy is where an export lies.
type StoredCopy struct {
	Destination string `json:"destination"`
	URI         string `json:"uri"` // as in Completed
}

// Expired says that an export is gone from every destination, by a retention rule.
type Expired struct {
	RequestID   string        `json:"request_id"`
	ProjectID   string        `json:"project_id"`
	Reason      string        `json:"reason"`
	CompletedAt time.Time     `json:"completed_at"`
	ExpiredAt   time.Time     `json:"expired_at"`
	StoredBytes int64         `json:"stored_bytes"` // that lay at each destination
	Copies      []ExpiredCopy `json:"copies"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// ExpiredCopy is what became of an export at one destination.
type ExpiredCopy struct {
	Destination string `json:"destination"`
	// Result is "deleted", "hidden" (an old version of it stays, where a destination keeps
	// versions), "absent" (it was gone already), or "tombstoned": something empty lies in its
	// place, where a destination deletes no more (an old Telegram message).
	Result string `json:"result"`
}

func (e *Expiring) about() (project, request string, trace *Trace) {
	return e.ProjectID, e.RequestID, &e.Trace
}

// Encode encodes e. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (e Expiring) Encode(source string) (Message, error) {
	switch {
	case e.WarnedAt.IsZero():
		return Message{}, invalid("warned_at", "is missing")
	case e.ExpiresAt.IsZero():
		return Message{}, invalid("expires_at", "is missing")
	case e.CompletedAt.IsZero():
		return Message{}, invalid("completed_at", "is missing")
	}
	e.WarnedAt, e.ExpiresAt, e.CompletedAt = e.WarnedAt.UTC(), e.ExpiresAt.UTC(), e.CompletedAt.UTC()
	e.Reason = oneLine(e.Reason, maxText)
	return encode(e, envelope{
		eventType: TypeExpiring,
		natsSubj:  EventSubject(TypeExpiring, e.ProjectID, e.RequestID),
		project:   e.ProjectID,
		request:   e.RequestID,
		idSuffix:  "." + strconv.FormatInt(e.WarnedAt.UnixMilli(), 10),
		at:        e.WarnedAt,
		trace:     e.Trace,
	}, source)
}

func (e *Expired) about() (project, request string, trace *Trace) {
	return e.ProjectID, e.RequestID, &e.Trace
}

// Encode encodes e. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (e Expired) Encode(source string) (Message, error) {
	switch {
	case e.ExpiredAt.IsZero():
		return Message{}, invalid("expired_at", "is missing")
	case e.CompletedAt.IsZero():
		return Message{}, invalid("completed_at", "is missing")
	}
	e.ExpiredAt, e.CompletedAt = e.ExpiredAt.UTC(), e.CompletedAt.UTC()
	e.Reason = oneLine(e.Reason, maxText)
	return encode(e, envelope{
		eventType: TypeExpired,
		natsSubj:  EventSubject(TypeExpired, e.ProjectID, e.RequestID),
		project:   e.ProjectID,
		request:   e.RequestID,
		at:        e.ExpiredAt,
		trace:     e.Trace,
	}, source)
}
