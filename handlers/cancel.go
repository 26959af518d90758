package handlers

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Canceller is the use case of cancelling.
type Canceller interface {
	Cancel(ctx context.Context, request, project, by string) (export.ID, *export.Outcome, error)
}

// Cancel answers backup.cancel.<request_id>, or restore.cancel.<restore_id>. It is not a Watermill
// handler, because a cancel is a request over plain NATS: it is not stored, and its sender waits for
// the answer.
type Cancel struct {
	Canceller Canceller
	Log       *slog.Logger
}

// Answer records the cancel and returns the state of the request. It always returns an answer.
func (h *Cancel) Answer(ctx context.Context, m events.Message) events.CancelReply {
	ask, err := events.DecodeCancel(m)
	if err != nil {
		return events.CancelReply{RequestID: ask.RequestID, Result: events.CancelInvalid, Message: err.Error()}
	}
	id, out, err := h.Canceller.Cancel(ctx, ask.RequestID, ask.ProjectID, ask.RequestedBy)
	h.log(ctx, "request_id", ask, id, err)
	return cancelReply("request", ask, id, out, err)
}

// AnswerRestore is Answer for the cancel of a restore.
func (h *Cancel) AnswerRestore(ctx context.Context, m events.Message) events.RestoreCancelReply {
	ask, err := events.DecodeRestoreCancel(m)
	if err != nil {
		return events.RestoreCancelReply{RestoreID: ask.RestoreID, Result: events.CancelInvalid, Message: err.Error()}
	}
	id, out, err := h.Canceller.Cancel(ctx, ask.RestoreID, ask.ProjectID, ask.RequestedBy)
	h.log(ctx, "restore_id", events.Cancel{RequestID: ask.RestoreID, RequestedBy: ask.RequestedBy}, id, err)
	return RestoreCancelReply(ask, id, out, err)
}

// log logs a cancel that was recorded, or could not be. name is that of the id.
func (h *Cancel) log(ctx context.Context, name string, ask events.Cancel, id export.ID, err error) {
	switch {
	case errors.Is(err, export.ErrUnknown), errors.Is(err, export.ErrAmbiguous):
	case err != nil:
		h.Log.WarnContext(ctx, "cancel not recorded", name, ask.RequestID, "error", err)
	default:
		h.Log.InfoContext(ctx, "cancel recorded", "project_id", id.Project, name, id.Request, "requested_by", ask.RequestedBy)
	}
}

// RestoreCancelReply returns the answer to ask. id, out and err are the result of cancelling the
// restore.
func RestoreCancelReply(ask events.RestoreCancel, id export.ID, out *export.Outcome, err error) events.RestoreCancelReply {
	r := cancelReply("restore", events.Cancel{RequestID: ask.RestoreID, ProjectID: ask.ProjectID}, id, out, err)
	reply := events.RestoreCancelReply{RestoreID: r.RequestID, ProjectID: r.ProjectID, Result: r.Result, Code: r.Code, Message: r.Message}
	switch r.Outcome {
	case events.TypeCompleted:
		reply.Outcome = events.TypeRestoreCompleted
	case events.TypeFailed:
		reply.Outcome = events.TypeRestoreFailed
	}
	return reply
}

// cancelReply returns the answer to ask. noun is what was to be cancelled.
func cancelReply(noun string, ask events.Cancel, id export.ID, out *export.Outcome, err error) events.CancelReply {
	reply := events.CancelReply{RequestID: ask.RequestID, ProjectID: ask.ProjectID}
	switch {
	case errors.Is(err, export.ErrUnknown):
		reply.Result, reply.Message = events.CancelUnknown, "no such "+noun+" is known or waits"
		return reply
	case errors.Is(err, export.ErrAmbiguous):
		reply.Result, reply.Message = events.CancelAmbiguous, "several projects use this "+noun+" id: name the project"
		return reply
	case err != nil:
		reply.Result, reply.Message = events.CancelUnavailable, "it cannot be recorded now"
		return reply
	}
	reply.ProjectID = id.Project
	reply.Result, reply.Message = events.CancelAccepted, "the "+noun+" is cancelled"
	switch {
	case out == nil:
		// The answer is the same before and after the end, so that a repeated cancel gets the same one.
	case out.State == export.Completed:
		reply.Result, reply.Outcome = events.CancelTooLate, events.TypeCompleted
		reply.Message = "the " + noun + " had completed before"
	case out.Code != codes.Cancelled:
		reply.Result, reply.Outcome, reply.Code = events.CancelTooLate, events.TypeFailed, out.Code
		reply.Message = "the " + noun + " had failed before: " + string(out.Code)
	}
	return reply
}
