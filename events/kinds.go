package events

import "slices"

// The types of the events that workers announce. Each also begins the subjects that its
// events travel on, and names its schema.
const (
	TypeStarted   = "backup.started"
	TypeProgress  = "backup.progress"
	TypeCompleted = "backup.completed"
	TypeFailed    = "backup.failed"

	TypeVerified           = "backup.verified"
	TypeVerificationFailed = "backup.verification_failed"

	TypeExpiring = "backup.expiring"
	TypeExpired  = "backup.expired"

	TypeLinkIssued  = "backup.link_issued"
	TypeDownloaded  = "backup.downloaded"
	TypeLinkRevoked = "backup.link_revoked"
	TypeLinkExpired = "backup.link_expired"

	TypeRestoreStarted   = "restore.started"
	TypeRestoreProgress  = "restore.progress"
	TypeRestoreCompleted = "restore.completed"
	TypeRestoreFailed    = "restore.failed"
)

// Event is anything that workers announce: exactly one of its fields is set, Completed
// and Failed among them.
type Event struct {
	Started  *Started
	Progress *Progress
	Outcome
	Verified           *Verified
	VerificationFailed *VerificationFailed
	Expiring           *Expiring
	Expired            *Expired
	LinkIssued         *LinkIssued
	Downloaded         *Downloaded
	LinkRevoked        *LinkRevoked
	LinkExpired        *LinkExpired
	RestoreStarted     *RestoreStarted
	RestoreProgress    *RestoreProgress
	RestoreCompleted   *RestoreCompleted
	RestoreFailed      *RestoreFailed
}

// kinds is the table of the announced events: the type, the stream that keeps them ("": none
// does), and the field of Event. A new kind is a row here.
var kinds = []eventKind{
	{TypeStarted, StreamEvents, field(func(e *Event) **Started { return &e.Started })},
	{TypeProgress, "", field(func(e *Event) **Progress { return &e.Progress })},
	{TypeCompleted, StreamOutcomes, field(func(e *Event) **Completed { return &e.Completed })},
	{TypeFailed, StreamOutcomes, field(func(e *Event) **Failed { return &e.Failed })},
	{TypeVerified, StreamEvents, field(func(e *Event) **Verified { return &e.Verified })},
	{TypeVerificationFailed, StreamEvents, field(func(e *Event) **VerificationFailed { return &e.VerificationFailed })},
	{TypeExpiring, StreamEvents, field(func(e *Event) **Expiring { return &e.Expiring })},
	{TypeExpired, StreamEvents, field(func(e *Event) **Expired { return &e.Expired })},
	{TypeLinkIssued, StreamEvents, field(func(e *Event) **LinkIssued { return &e.LinkIssued })},
	{TypeDownloaded, StreamEvents, field(func(e *Event) **Downloaded { return &e.Downloaded })},
	{TypeLinkRevoked, StreamEvents, field(func(e *Event) **LinkRevoked { return &e.LinkRevoked })},
	{TypeLinkExpired, StreamEvents, field(func(e *Event) **LinkExpired { return &e.LinkExpired })},
	{TypeRestoreStarted, StreamRestoreEvents, field(func(e *Event) **RestoreStarted { return &e.RestoreStarted })},
	{TypeRestoreProgress, "", field(func(e *Event) **RestoreProgress { return &e.RestoreProgress })},
	{TypeRestoreCompleted, StreamRestoreOutcomes, field(func(e *Event) **RestoreCompleted { return &e.RestoreCompleted })},
	{TypeRestoreFailed, StreamRestoreOutcomes, field(func(e *Event) **RestoreFailed { return &e.RestoreFailed })},
}

type eventKind struct {
	eventType string
	stream    string
	accessor
}

// announced is what all announced events have.
type announced interface {
	Encode(source string) (Message, error)
	// about returns the ids that the event is of, and where its trace is kept.
	about() (project, request string, trace *Trace)
}

// accessor makes and reads the field of one kind.
type accessor struct {
	set func(*Event) announced // to a new event
	get func(*Event) announced // nil: it is not set
}

func field[E any, P interface {
	*E
	announced
}](at func(*Event) **E) accessor {
	return accessor{
		set: func(e *Event) announced {
			*at(e) = new(E)
			return P(*at(e))
		},
		get: func(e *Event) announced {
			if *at(e) == nil {
				return nil
			}
			return P(*at(e))
		},
	}
}

// kindOf returns the kind of a type; false if the type is none of the announced.
func kindOf(eventType string) (eventKind, bool) {
	i := slices.IndexFunc(kinds, func(k eventKind) bool { return k.eventType == eventType })
	if i < 0 {
		return eventKind{}, false
	}
	return kinds[i], true
}

// body returns the field that is set, and its type; nil for the zero Event.
func (e Event) body() (string, announced) {
	for _, k := range kinds {
		if a := k.get(&e); a != nil {
			return k.eventType, a
		}
	}
	return "", nil
}

// Type returns the event's type; "" for the zero Event.
func (e Event) Type() string {
	eventType, _ := e.body()
	return eventType
}

// Body returns the field that is set, for instance a *Completed; nil for the zero Event.
func (e Event) Body() any {
	_, body := e.body()
	return body
}

// IDs returns the project and the request that the event is of.
func (e Event) IDs() (project, request string) {
	if _, a := e.body(); a != nil {
		project, request, _ = a.about()
	}
	return project, request
}

// Filters returns the subject filters of the events that a stream keeps over all projects and
// requests: of StreamOutcomes, StreamEvents, StreamRestoreOutcomes, StreamRestoreEvents, or "" for
// those that none keeps.
func Filters(stream string) []string {
	var out []string
	for _, k := range kinds {
		if k.stream == stream {
			out = append(out, k.eventType+".*.*")
		}
	}
	return out
}

// AllFilters returns the subject filters of all announced events.
func AllFilters() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.eventType+".*.*")
	}
	return out
}
