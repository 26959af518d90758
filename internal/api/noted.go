package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/pgcourier/pgcourier/internal/ledger"
)

// noted makes a change with its record in the audit. The record is made first, so that no change is without
// one, and then says what the change came to. The error is a *Problem.
func (a *API) noted(ctx context.Context, c ledger.Call, change func() error) error {
	id, err := a.Ledger.BeginCall(ctx, c)
	if err != nil {
		return a.problemOf(ctx, err)
	}
	err = change()
	if err != nil {
		err = a.problemOf(ctx, err)
	}
	if outcome := outcomeOf(err); outcome != ledger.CallUnknown { // it is that already
		if failed := a.Ledger.EndCall(context.WithoutCancel(ctx), id, outcome); failed != nil {
			a.Log.WarnContext(ctx, "outcome of a call not noted: the audit has it as unknown", "action", c.Action, "project_id", c.Project, "object", c.Object, "outcome", outcome, "error", failed)
		}
	}
	return err
}

// outcomeOf returns what a change with an error came to. A server that failed or did not answer may have made it.
func outcomeOf(err error) ledger.CallOutcome {
	p, told := errors.AsType[*Problem](err)
	switch {
	case err == nil:
		return ledger.CallDone
	case told && (p.Status < http.StatusInternalServerError || p.Status == http.StatusNotImplemented):
		return ledger.CallFailed
	}
	return ledger.CallUnknown
}
