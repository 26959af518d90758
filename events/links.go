package events

import (
	"time"
)

// LinkIssued says that a download link of an export was issued. It names the link and does
// not hold it: what opens the file is made with a key that only pgcourier has.
type LinkIssued struct {
	RequestID string `json:"request_id"`
	ProjectID string `json:"project_id"`
	LinkID    string `json:"link_id"`
	Attempt   int    `json:"attempt"` // the one that made the export, from 1
	// KeyID says which link key makes the link.
	KeyID string `json:"key_id"`
	// MaxDownloads is how often the file can be fetched. 0: no limit.
	MaxDownloads int `json:"max_downloads,omitzero"`
	// NotifyEmail is the address that the link is sent to. Empty: none.
	NotifyEmail string    `json:"notify_email,omitempty"`
	IssuedBy    string    `json:"issued_by"`
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// Downloaded says that a stored export was sent to a client, over a link or by the API. There
// is one for each download, when it has ended; a transfer that is resumed is one.
type Downloaded struct {
	RequestID string `json:"request_id"`
	ProjectID string `json:"project_id"`
	// LinkID is empty for a download by the API.
	LinkID     string `json:"link_id,omitempty"`
	DownloadID string `json:"download_id"`
	// DownloadedBy is the user or token. Empty: the link alone opened it.
	DownloadedBy string `json:"downloaded_by,omitempty"`
	Address      string `json:"address,omitempty"`    // the client's IP address
	UserAgent    string `json:"user_agent,omitempty"` // what the client calls itself
	// Redirected says that the client was sent to the storage itself, so that the bytes
	// are not counted.
	Redirected bool  `json:"redirected,omitzero"`
	Bytes      int64 `json:"bytes"` // that were sent
	// Whole says that the client was sent the whole file.
	Whole      bool      `json:"whole"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"` // when the last byte was sent

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// LinkRevoked says that a download link was revoked: it opens nothing any more.
type LinkRevoked struct {
	RequestID string    `json:"request_id"`
	ProjectID string    `json:"project_id"`
	LinkID    string    `json:"link_id"`
	Downloads int       `json:"downloads"` // how often it was used
	RevokedBy string    `json:"revoked_by"`
	RevokedAt time.Time `json:"revoked_at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

// LinkExpired says that a download link has expired: it opens nothing any more.
type LinkExpired struct {
	RequestID string    `json:"request_id"`
	ProjectID string    `json:"project_id"`
	LinkID    string    `json:"link_id"`
	Downloads int       `json:"downloads"` // how often it was used
	ExpiredAt time.Time `json:"expired_at"`

	// Trace travels in headers.
	Trace Trace `json:"-"`
}

func (l *LinkIssued) about() (project, request string, trace *Trace) {
	return l.ProjectID, l.RequestID, &l.Trace
}

// Encode encodes l. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (l LinkIssued) Encode(source string) (Message, error) {
	switch {
	case l.IssuedAt.IsZero():
		return Message{}, invalid("issued_at", "is missing")
	case l.ExpiresAt.IsZero():
		return Message{}, invalid("expires_at", "is missing")
	}
	l.IssuedAt, l.ExpiresAt = l.IssuedAt.UTC(), l.ExpiresAt.UTC()
	l.IssuedBy = oneLine(l.IssuedBy, maxCaller)
	return encode(l, ofLink(TypeLinkIssued, l.ProjectID, l.RequestID, l.LinkID, l.IssuedAt, l.Trace), source)
}

func (d *Downloaded) about() (project, request string, trace *Trace) {
	return d.ProjectID, d.RequestID, &d.Trace
}

// Encode encodes d. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (d Downloaded) Encode(source string) (Message, error) {
	switch {
	case d.StartedAt.IsZero():
		return Message{}, invalid("started_at", "is missing")
	case d.FinishedAt.IsZero():
		return Message{}, invalid("finished_at", "is missing")
	}
	d.StartedAt, d.FinishedAt = d.StartedAt.UTC(), d.FinishedAt.UTC()
	d.UserAgent, d.DownloadedBy = oneLine(d.UserAgent, maxUserAgent), oneLine(d.DownloadedBy, maxCaller)
	return encode(d, ofLink(TypeDownloaded, d.ProjectID, d.RequestID, d.DownloadID, d.FinishedAt, d.Trace), source)
}

func (l *LinkRevoked) about() (project, request string, trace *Trace) {
	return l.ProjectID, l.RequestID, &l.Trace
}

// Encode encodes l. Free text is cut to the contract's limits. The error is an
// *InvalidError. source names the publisher, as a URI reference.
func (l LinkRevoked) Encode(source string) (Message, error) {
	if l.RevokedAt.IsZero() {
		return Message{}, invalid("revoked_at", "is missing")
	}
	l.RevokedAt = l.RevokedAt.UTC()
	l.RevokedBy = oneLine(l.RevokedBy, maxCaller)
	return encode(l, ofLink(TypeLinkRevoked, l.ProjectID, l.RequestID, l.LinkID, l.RevokedAt, l.Trace), source)
}

func (l *LinkExpired) about() (project, request string, trace *Trace) {
	return l.ProjectID, l.RequestID, &l.Trace
}

// Encode encodes l. The error is an *InvalidError. source names the publisher, as a URI
// reference.
func (l LinkExpired) Encode(source string) (Message, error) {
	if l.ExpiredAt.IsZero() {
		return Message{}, invalid("expired_at", "is missing")
	}
	l.ExpiredAt = l.ExpiredAt.UTC()
	return encode(l, ofLink(TypeLinkExpired, l.ProjectID, l.RequestID, l.LinkID, l.ExpiredAt, l.Trace), source)
}

// ofLink is the envelope of an event of which a request can have several, told apart by id.
func ofLink(eventType, project, request, id string, at time.Time, trace Trace) envelope {
	return envelope{
		eventType: eventType,
		natsSubj:  EventSubject(eventType, project, request),
		project:   project,
		request:   request,
		idSuffix:  "." + id,
		at:        at,
		trace:     trace,
	}
}
