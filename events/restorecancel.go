package events

import (
	"context"

	"github.com/pgcourier/pgcourier/events/codes"
)

// RestoreCancel asks that a restore ends and leaves its target as it is. It travels as a plain NATS
// request on RestoreCancelSubject, to which a restorer replies with a RestoreCancelReply once the
// ledger has it.
type RestoreCancel struct {
	// RestoreID travels in the subject. Required.
	RestoreID string `json:"-"`
	// ProjectID is the project to restore into. It may be left out when only one project uses the
	// restore id.
	ProjectID string `json:"project_id,omitempty"`
	// RequestedBy names the canceller, for people. The outcome's message repeats it.
	RequestedBy string `json:"requested_by,omitempty"`
}

// RestoreCancelReply answers a RestoreCancel. CancelAccepted means that the restore's outcome is, or
// will be, a RestoreFailed with codes.Cancelled, unless its target has committed it already: it then
// completes.
type RestoreCancelReply struct {
	RestoreID string       `json:"restore_id"`
	ProjectID string       `json:"project_id,omitempty"` // when it is known
	Result    CancelResult `json:"result"`
	// Outcome is the type of the outcome that the restore has: TypeRestoreCompleted or
	// TypeRestoreFailed; empty while it has none.
	Outcome string `json:"outcome,omitempty"`
	// Code is the RestoreFailed outcome's.
	Code codes.Code `json:"code,omitempty"`
	// Message says the same for a human.
	Message string `json:"message"`
}

// RestoreCancelSubject is where a restore is cancelled.
func RestoreCancelSubject(restore string) string { return TypeRestoreCancel + "." + restore }

// Encode encodes c for RestoreCancelSubject. The error is an *InvalidError.
func (c RestoreCancel) Encode() (Message, error) {
	return encodeQuestion(TypeRestoreCancel, RestoreCancelSubject(c.RestoreID), "restore_id", c.RestoreID, c)
}

// DecodeRestoreCancel reads a RestoreCancel as DecodeCancel does a Cancel.
func DecodeRestoreCancel(m Message) (RestoreCancel, error) {
	id, c, err := decodeQuestion[RestoreCancel](TypeRestoreCancel, "<restore_id>", m)
	c.RestoreID = id
	return c, err
}

// Encode encodes r as the body of a reply. Free text is cut to the contract's limits. The
// error is an *InvalidError.
func (r RestoreCancelReply) Encode() (Message, error) {
	r.Message = oneLine(r.Message, maxText)
	body, err := encodePlain(TypeRestoreCancelReply, r)
	if err != nil {
		return Message{}, err
	}
	return Message{Header: map[string]string{HeaderContentType: mediaJSON}, Body: body}, nil
}

// DecodeRestoreCancelReply reads a reply. Fields that v1 does not know are ignored. The error is an
// *InvalidError.
func DecodeRestoreCancelReply(m Message) (RestoreCancelReply, error) {
	return decodeReply[RestoreCancelReply](TypeRestoreCancelReply, m)
}

// CancelRestore asks the restorers to cancel a restore and returns the first definite answer, as
// Cancel does for a request. With restricted users it needs the right to publish to
// RestoreCancelSubject and to subscribe to its own inbox.
func (c *Client) CancelRestore(ctx context.Context, ask RestoreCancel) (RestoreCancelReply, error) {
	m, err := ask.Encode()
	if err != nil {
		return RestoreCancelReply{}, err
	}
	return answerTo(ctx, c, question{what: "cancel restore " + ask.RestoreID, to: "restorer", message: m}, DecodeRestoreCancelReply)
}

// later implements reply.
func (r RestoreCancelReply) later() string {
	if r.Result == CancelUnavailable {
		return r.Message
	}
	return ""
}
