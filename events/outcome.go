package events

import (
	"bytes"

	"github.com/go-json-experiment/json"
)

// Outcome is a request's one terminal result: exactly one of its fields is set.
type Outcome struct {
	Completed *Completed
	Failed    *Failed
}

// IDs returns the project and the request that the outcome is of.
func (o Outcome) IDs() (project, request string) { return Event{Outcome: o}.IDs() }

// Answers reports whether the outcome is that of r, and not of an earlier request with the
// same id and other contents: then r was refused as codes.RequestConflict under an id of its
// own. An outcome without its request counts as r's. The request ids are not
// compared, so that r may be as it was given to RequestBackup.
func (o Outcome) Answers(r Requested) bool {
	var of *Requested
	switch {
	case o.Completed != nil:
		of = o.Completed.Request
	case o.Failed != nil:
		of = o.Failed.Request
	}
	if of == nil {
		return true
	}
	r.RequestID = of.RequestID
	asked, err := r.Canonical()
	if err != nil {
		return false
	}
	answered, err := of.Canonical()
	return err == nil && bytes.Equal(asked, answered)
}

// DecodeOutcome reads a Completed or a Failed. See DecodeEvent.
func DecodeOutcome(m Message) (Outcome, error) {
	e, err := DecodeEvent(m)
	if err != nil {
		return Outcome{}, err
	}
	if e.Completed == nil && e.Failed == nil {
		return Outcome{}, invalid(HeaderType, "must be "+TypeCompleted+" or "+TypeFailed)
	}
	return e.Outcome, nil
}

// DecodeEvent reads what workers publish, in binary mode or as a bare body: the type is
// the one that ce-type or the subject names. If both name one, they must agree, and so must
// the ids in subject and body. Fields that v1 does not know are ignored, because a newer
// publisher may send them; all else must keep the contract. The error is an
// *InvalidError.
func DecodeEvent(m Message) (Event, error) {
	header, err := foldHeader(m.Header)
	if err != nil {
		return Event{}, err
	}
	if _, err := checkContent(header); err != nil {
		return Event{}, err
	}
	if v, ok := header[HeaderSpecVersion]; ok && v != specVersion {
		return Event{}, invalid(HeaderSpecVersion, "must be "+specVersion)
	}
	eventType, err := typeOf(header[HeaderType], m.Subject)
	if err != nil {
		return Event{}, err
	}
	doc, err := parseStrict(m.Body, MaxEventBytes)
	if err != nil {
		return Event{}, err
	}
	if err := theContract().check(eventType, doc, true); err != nil {
		return Event{}, err
	}
	e, err := unmarshalEvent(eventType, m.Body, traceOf(header, binaryAttributes(header)))
	if err != nil {
		return Event{}, err
	}
	project, request := e.IDs()
	if m.Subject != "" && m.Subject != EventSubject(eventType, project, request) {
		return Event{}, invalid("subject", "contradicts the body")
	}
	return e, nil
}

// typeOf finds which of the announced types a message is.
func typeOf(header, subject string) (string, error) {
	fromSubject, _ := splitSubject(subject)
	if subject != "" && header != "" && header != fromSubject {
		return "", invalid(HeaderType, "contradicts the subject")
	}
	eventType := header
	if eventType == "" {
		eventType = fromSubject
	}
	if _, known := kindOf(eventType); !known {
		return "", invalid(HeaderType, "must be one of the announced types")
	}
	return eventType, nil
}

func unmarshalEvent(eventType string, body []byte, trace Trace) (Event, error) {
	var e Event
	k, _ := kindOf(eventType)
	event := k.set(&e)
	if json.Unmarshal(body, event) != nil {
		return Event{}, invalid(bodyField, "does not have the types of the contract")
	}
	_, _, at := event.about()
	*at = trace
	return e, nil
}
