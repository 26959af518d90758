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

// Cancel answers backup.cancel.<request_id>. It is not a Watermill handler, because a cancel is a
// request over plain NATS: it is not stored, and its sender waits for the answer.
type Cancel struct {
	Canceller Canceller
	Log       *slog.Logger
}

// Answer records the cancel and returns the state of the request. It always returns an answer.
func (h *Cancel) Answer(ctx context.Context, m events.Message) events.CancelReply {
	ask, err := events.DecodeCancel(m)
	reply := events.CancelReply{RequestID: ask.RequestID, ProjectID: ask.ProjectID}
	if err != nil {
		reply.Result, reply.Message = events.CancelInvalid, err.Error()
		return reply
	}
	id, out, err := h.Canceller.Cancel(ctx, ask.RequestID, ask.ProjectID, ask.RequestedBy)
	switch {
	case errors.Is(err, export.ErrUnknown):
		reply.Result, reply.Message = events.CancelUnknown, "no such request is known or waits"
		return reply
	case errors.Is(err, export.ErrAmbiguous):
		reply.Result, reply.Message = events.CancelAmbiguous, "several projects use this request id: name the project"
		return reply
	case err != nil:
		h.Log.WarnContext(ctx, "cancel not recorded", "request_id", ask.RequestID, "error", err)
		reply.Result, reply.Message = events.CancelUnavailable, "the worker cannot record it now"
		return reply
	}
	h.Log.InfoContext(ctx, "cancel recorded", "project_id", id.Project, "request_id", id.Request, "requested_by", ask.RequestedBy)
	reply.ProjectID = id.Project
	reply.Result, reply.Message = events.CancelAccepted, "the request is cancelled"
	switch {
	case out == nil:
		// The answer is the same before and after the request's end, so that a repeated cancel gets the
		// same one.
	case out.State == export.Completed:
		reply.Result, reply.Outcome = events.CancelTooLate, events.TypeCompleted
		reply.Message = "the request had completed before"
	case out.Code != codes.Cancelled:
		reply.Result, reply.Outcome, reply.Code = events.CancelTooLate, events.TypeFailed, out.Code
		reply.Message = "the request had failed before: " + string(out.Code)
	}
	return reply
}
