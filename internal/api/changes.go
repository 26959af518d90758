package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/replay"
)

func (a *API) registerChanges(operations huma.API) {
	op := a.operation("cancel-export", http.MethodPost, exportPath+"/cancel", "Cancel an export",
		"Wherever it is: waiting, or in the middle of its dump. Cancelling twice is the same as once.", access.Export, access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.cancel)

	op = a.operation("replay-export", http.MethodPost, exportPath+"/replay", "Ask for a failed export again",
		"The answer is the new export, or the earlier replay that completed. Replaying twice gives one request.", access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.replay)

	op = a.operation("verify-export", http.MethodPost, exportPath+"/verify", "Verify a stored export once more",
		"A verifier reads every copy back and restores one into a scratch database; `backup.verified` or `backup.verification_failed` says "+
			"what it found. The order waits until a verifier takes it. While it waits, another one changes nothing.", access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.verify)

	op = a.operation("delete-export", http.MethodDelete, exportPath, "Delete a stored export",
		"From every destination, soon: `removed_at` says when it is done. The outcome stays as it was announced. It may be repeated.", access.Operate)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(operations, op, a.remove)
}

func (a *API) cancel(ctx context.Context, in *ExportPath) (*exportOutput, error) {
	e, err := a.find(ctx, in.Project, in.ID)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	c := callerOf(ctx)
	err = a.noted(ctx, c.call(CancelExport, in.Project, in.ID), func() error {
		reply, err := a.Client.Cancel(ctx, events.Cancel{RequestID: in.ID, ProjectID: in.Project, RequestedBy: c.Subject})
		if err != nil {
			return err
		}
		switch reply.Result {
		case events.CancelAccepted:
		case events.CancelTooLate:
			return problem(http.StatusConflict, codeTooLate, reply.Message)
		case events.CancelUnknown:
			return errNotFound
		case events.CancelAmbiguous, events.CancelInvalid, events.CancelUnavailable:
			return errors.New("a worker answered a cancel with " + string(reply.Result))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if now, err := a.find(ctx, in.Project, in.ID); err == nil { // else it is shown as it was before
		e = now
	}
	return &exportOutput{e}, nil
}

func (a *API) replay(ctx context.Context, in *ExportPath) (*acceptedOutput, error) {
	if _, err := a.find(ctx, in.Project, in.ID); err != nil {
		return nil, a.problemOf(ctx, err)
	}
	item, err := a.Planner.One(ctx, in.Project, in.ID)
	if err == nil {
		err = item.Refusal()
	}
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	if item.Verdict == replay.Completed {
		e, err := a.find(ctx, in.Project, item.Next.RequestID)
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		return &acceptedOutput{e.Links.Self, e}, nil
	}
	var e Export
	err = a.noted(ctx, callerOf(ctx).call(ReplayExport, in.Project, in.ID), func() (err error) {
		e, err = a.ask(ctx, item.Next)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &acceptedOutput{e.Links.Self, e}, nil
}

func (a *API) remove(ctx context.Context, in *ExportPath) (*exportOutput, error) {
	e, err := a.find(ctx, in.Project, in.ID)
	if err == nil {
		err = a.Ledger.OrderRemoval(ctx, export.ID{Project: in.Project, Request: in.ID}, callerOf(ctx).call("delete-export", in.Project, in.ID))
	}
	if errors.Is(err, export.ErrUnknown) { // it waits, and no worker has recorded it
		err = export.ErrNothingStored
	}
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &exportOutput{e}, nil
}

func (a *API) verify(ctx context.Context, in *ExportPath) (*exportOutput, error) {
	e, err := a.find(ctx, in.Project, in.ID)
	if err == nil {
		err = a.Ledger.OrderVerification(ctx, export.ID{Project: in.Project, Request: in.ID}, callerOf(ctx).call("verify-export", in.Project, in.ID))
	}
	if errors.Is(err, export.ErrNothingStored) || errors.Is(err, export.ErrUnknown) { // no worker has recorded it
		return nil, problem(http.StatusConflict, codeNothingStored, "there is no stored export to verify")
	}
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	return &exportOutput{e}, nil
}

// refused reports whether the broker certainly did not store a request.
func (a *API) refused(err error) bool { return errors.Is(err, events.ErrQueueFull) }
