package events

import (
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Cancel asks that a request ends without an export. It travels as a plain NATS request
// on CancelSubject, to which a worker replies with a CancelReply once the ledger has it.
type Cancel struct {
	// RequestID travels in the subject. Required.
	RequestID string `json:"-"`
	// ProjectID may be left out when only one project uses the request id.
	ProjectID string `json:"project_id,omitempty"`
	// RequestedBy names the canceller, for people. The outcome's message repeats it.
	RequestedBy string `json:"requested_by,omitempty"`
}

// CancelResult is the answer to a Cancel in one word.
type CancelResult string

// The answers to a Cancel.
const (
	// CancelAccepted means that the request's outcome is, or will be, a Failed with
	// codes.Cancelled. Asking again gives the same answer.
	CancelAccepted CancelResult = "cancelled"
	// CancelTooLate means that the request had ended otherwise before.
	CancelTooLate CancelResult = "too_late"
	// CancelUnknown means that no request with these ids is known or waits.
	CancelUnknown CancelResult = "unknown"
	// CancelAmbiguous means that several projects use the request id: name one.
	CancelAmbiguous CancelResult = "ambiguous"
	// CancelInvalid means that the question breaks the contract.
	CancelInvalid CancelResult = "invalid"
	// CancelUnavailable means that the worker could not record it now; ask again.
	CancelUnavailable CancelResult = "unavailable"
)

// CancelReply answers a Cancel.
type CancelReply struct {
	RequestID string       `json:"request_id"`
	ProjectID string       `json:"project_id,omitempty"` // when it is known
	Result    CancelResult `json:"result"`
	// Outcome is the type of the outcome that the request has: TypeCompleted or
	// TypeFailed; empty while it has none.
	Outcome string `json:"outcome,omitempty"`
	// Code is the Failed outcome's.
	Code codes.Code `json:"code,omitempty"`
	// Message says the same for a human.
	Message string `json:"message"`
}

// CancelSubject is where a request is cancelled.
func CancelSubject(request string) string { return TypeCancel + "." + request }

// Encode encodes c for CancelSubject. The error is an *InvalidError.
func (c Cancel) Encode() (Message, error) {
	return encodeQuestion(TypeCancel, CancelSubject(c.RequestID), "request_id", c.RequestID, c)
}

// DecodeCancel reads a Cancel strictly: what the contract does not name is refused. The
// error is an *InvalidError; with it come the request id of the subject, if it is one.
func DecodeCancel(m Message) (Cancel, error) {
	id, c, err := decodeQuestion[Cancel](TypeCancel, "<request_id>", m)
	c.RequestID = id
	return c, err
}

// Encode encodes r as the body of a reply. Free text is cut to the contract's limits. The
// error is an *InvalidError.
func (r CancelReply) Encode() (Message, error) {
	r.Message = oneLine(r.Message, maxText)
	body, err := encodePlain(TypeCancelReply, r)
	if err != nil {
		return Message{}, err
	}
	return Message{Header: map[string]string{HeaderContentType: mediaJSON}, Body: body}, nil
}

// DecodeCancelReply reads a reply. Fields that v1 does not know are ignored. The error is
// an *InvalidError.
func DecodeCancelReply(m Message) (CancelReply, error) {
	return decodeReply[CancelReply](TypeCancelReply, m)
}

// encodeQuestion encodes v, the question about id. field names the id in an error.
func encodeQuestion(name, subject, field, id string, v any) (Message, error) {
	if !ValidRequest(id) {
		return Message{}, invalid(field, idRule)
	}
	body, err := encodePlain(name, v)
	if err != nil {
		return Message{}, err
	}
	return Message{Subject: subject, Header: map[string]string{HeaderContentType: mediaJSON}, Body: body}, nil
}

// decodeQuestion reads a question strictly, and the id in its subject. With an error the id is that
// of the subject, if it is one, and the question is empty. token stands for the id in an error.
func decodeQuestion[T any](name, token string, m Message) (id string, question T, err error) {
	var none T
	id, ok := strings.CutPrefix(m.Subject, name+".")
	if !ok || !ValidRequest(id) {
		return "", none, invalid("subject", "must be "+name+"."+token)
	}
	header, err := foldHeader(m.Header)
	if err == nil {
		_, err = checkContent(header)
	}
	if err != nil {
		return id, none, err
	}
	doc, err := parseStrict(m.Body, MaxRequestBytes)
	if err == nil {
		err = theContract().check(name, doc, false)
	}
	if err != nil {
		return id, none, err
	}
	if json.Unmarshal(m.Body, &question) != nil {
		return id, none, invalid(bodyField, "does not have the types of the contract")
	}
	return id, question, nil
}

// decodeReply reads an answer. Fields that v1 does not know are ignored.
func decodeReply[T any](name string, m Message) (T, error) {
	var reply, none T
	doc, err := parseStrict(m.Body, MaxEventBytes)
	if err == nil {
		err = theContract().check(name, doc, true)
	}
	if err != nil {
		return none, err
	}
	if json.Unmarshal(m.Body, &reply) != nil {
		return none, invalid(bodyField, "does not have the types of the contract")
	}
	return reply, nil
}

// encodePlain writes the body of a message that is no event: a question or its answer.
func encodePlain(name string, v any) ([]byte, error) {
	body, err := marshal(v)
	if err != nil {
		return nil, err
	}
	doc, err := parseStrict(body, MaxRequestBytes)
	if err != nil {
		return nil, err
	}
	return body, theContract().check(name, doc, false)
}
