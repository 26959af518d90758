package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// attempt is one granted attempt.
type attempt struct {
	*Runner
	req   export.Request
	claim export.Claim
	log   *slog.Logger
	begun time.Time

	job     Job
	from    export.ID
	placing bool // an attempt of this restore, perhaps this one, may have begun to change the target
	known   bool // job.Target is the target in which it began, or none has begun
	settled bool // the target has refused the restore
}

// perform does the work of the attempt. nil, err: it failed.
func (a *attempt) perform(ctx context.Context) (*Result, error) {
	if a.req.Refusal != nil {
		return nil, a.req.Refusal
	}
	a.placing = true // until the ledger says that none has begun
	standing, err := ledger(ctx, a.Runner, func(ctx context.Context) (Standing, error) { return a.Ledger.Standing(ctx, a.req.ID) })
	if err != nil {
		return nil, err
	}
	a.placing, a.from, a.job.ID, a.job.Marker = standing.Target != nil, standing.From, a.req.ID, standing.Marker
	if err := json.Unmarshal(a.req.Payload, &a.job.Order); err != nil {
		return nil, fmt.Errorf("read the recorded request: %w", err)
	}
	target, err := ledger(ctx, a.Runner, func(ctx context.Context) (Target, error) { return a.Targets.Lookup(ctx, a.req.Project) })
	if err != nil {
		return nil, err
	}
	a.job.Target = target
	identity, err := a.Engine.Identity(target)
	if err != nil {
		return nil, err
	}
	if a.placing && !bytes.Equal(identity, standing.Target) {
		return nil, moved()
	}
	a.known = true
	done, err := a.Engine.Committed(ctx, a.job)
	if err == nil && standing.Unanswered {
		_, err = ledger(ctx, a.Runner, func(ctx context.Context) (struct{}, error) { return struct{}{}, a.Ledger.Answered(ctx, a.req.ID) })
	}
	if err != nil || done != nil {
		return a.completed(done), err
	}
	if err := a.allowed(target); err != nil {
		return nil, err
	}
	if a.job.Export, err = a.export(ctx); err != nil {
		return nil, err
	}
	a.Observer.RestoreStarted(ctx, Started{
		ID: a.req.ID, Attempt: a.claim.Token.Attempt, From: a.from, Mode: a.job.Order.Mode, Plan: a.job.Order.Plan,
		StoredBytes: a.job.Export.Artifact.StoredBytes, StartedAt: a.claim.Started, Trace: a.req.Trace,
	})
	if a.job.Order.Plan {
		result, err := a.Engine.Plan(ctx, a.job)
		return a.completed(&result), err
	}
	return a.place(ctx, identity)
}

// allowed returns the fault of a restore that the control plane does not allow.
func (a *attempt) allowed(t Target) error {
	from := a.job.Order.From.Project
	switch {
	case from != a.req.Project && !slices.Contains(t.AllowFrom, from):
		return &export.Fault{Code: codes.RestoreSourceNotAllowed, Message: "allow_from of the target does not name the export's project"}
	case a.job.Order.Mode == Replace && !t.AllowReplace:
		return &export.Fault{Code: codes.RestoreReplaceNotAllowed, Message: "allow_replace of the target is not true: its data may not be replaced"}
	}
	return nil
}

// export finds the export. The first attempt decides which one the latest is.
func (a *attempt) export(ctx context.Context) (*export.Outcome, error) {
	missing := &export.Fault{Code: codes.ExportNotFound, Message: "there is no such stored export: it never completed, or was deleted"}
	if a.from.Request == "" {
		from := export.ID(a.job.Order.From)
		if from.Request == latest || from.Request == latestVerified {
			verified := from.Request == latestVerified
			request, err := ledger(ctx, a.Runner, func(ctx context.Context) (string, error) { return a.Exports.Latest(ctx, from.Project, verified) })
			if err != nil {
				return nil, err
			}
			if request == "" {
				return nil, missing
			}
			from.Request = request
		}
		var err error
		a.from, err = ledger(ctx, a.Runner, func(ctx context.Context) (export.ID, error) { return a.Ledger.Resolve(ctx, a.claim.Token, from) })
		if err != nil {
			return nil, err
		}
	}
	out, err := ledger(ctx, a.Runner, func(ctx context.Context) (*export.Outcome, error) { return a.Exports.Completed(ctx, a.from) })
	if err == nil && out == nil {
		err = missing
	}
	return out, err
}

// place changes the target, once the ledger has it that this begins.
func (a *attempt) place(ctx context.Context, identity []byte) (*Result, error) {
	// A cancel from before is noticed here; later ones at the next renewal.
	if _, err := ledger(ctx, a.Runner, func(ctx context.Context) (struct{}, error) { return struct{}{}, a.Ledger.Renew(ctx, a.claim.Token) }); err != nil {
		return nil, err
	}
	a.placing = true
	first, err := ledger(ctx, a.Runner, func(ctx context.Context) ([]byte, error) { return a.Ledger.BeginPlacing(ctx, a.claim.Token, identity) })
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, identity) {
		a.known = false
		return nil, moved()
	}
	last := time.Now()
	result, err := a.Engine.Place(ctx, a.job, func(p Progress) {
		if now := time.Now(); now.Sub(last) >= time.Second || p.ReadBytes == p.StoredBytes {
			last = now
			p.ID, p.Attempt, p.At = a.req.ID, a.claim.Token.Attempt, now
			a.Observer.RestoreProgress(ctx, p)
		}
	})
	if err != nil {
		return nil, err
	}
	return a.completed(&result), nil
}

// completed adds to a result what the restore itself knows.
func (a *attempt) completed(r *Result) *Result {
	if r == nil {
		return nil
	}
	r.From, r.Mode, r.Plan = a.from, a.job.Order.Mode, a.job.Order.Plan
	return r
}

// ending decides how the attempt ends. Where an attempt may have begun to change the target, it asks
// the target to refuse the restore before that ends as failed.
func (a *attempt) ending(ctx context.Context, d delivered, result *Result, err error) export.Ending {
	if err == nil {
		return a.completion(result)
	}
	fault := export.AsFault(err)
	final := fault.Code.Permanent() || errors.Is(err, ErrRefused)
	if !final && a.claim.Token.Attempt < a.MaxAttempts && !d.Last {
		return export.Ending{Retry: fault}
	}
	switch {
	case a.placing && !a.known:
		return export.Ending{Retry: fault} // the next delivery or the sweeper looks the target up again
	case a.placing:
		ctx, cancel := export.WithGrace(ctx, cleanUp)
		defer cancel()
		done, err := a.Engine.Refuse(ctx, a.job)
		if err != nil {
			// The next delivery or the sweeper asks again.
			a.log.WarnContext(ctx, "the target does not say whether it has committed", "error", err, "fault", fault)
			return export.Ending{Retry: fault}
		}
		if done != nil {
			return a.completion(a.completed(done))
		}
		a.settled = true
	}
	return a.failed(fault)
}

// finish records the ending. It waits for the ledger while the process may run.
func (a *attempt) finish(ctx context.Context, end export.Ending) error {
	ctx, cancel := export.WithGrace(ctx, cleanUp)
	defer cancel()
	record := a.Ledger.Finish
	if a.settled {
		record = a.Ledger.FinishSettled
	}
	return export.Retry(ctx, a.wait(), func(ctx context.Context) error { return record(ctx, a.claim.Token, end) })
}

func (a *attempt) completion(result *Result) export.Ending {
	out := a.outcome(export.Completed)
	b, err := json.Marshal(result)
	if err != nil { // no value of a Result can cause it
		return export.Ending{Retry: export.AsFault(err)}
	}
	out.Restored = b
	a.log.Info("restore completed", "from", result.From, "plan", result.Plan, "tables", result.Tables, "rows", result.Rows, "duration", out.FinishedAt.Sub(out.StartedAt))
	return export.Ending{Outcome: &out}
}

func (a *attempt) failed(fault *export.Fault) export.Ending {
	out := a.outcome(export.Failed)
	out.Code, out.Permanent, out.Message = fault.Code, fault.Code.Permanent(), fault.Message
	a.log.Warn("restore failed", "code", fault.Code, "error", fault)
	return export.Ending{Outcome: &out}
}

func (a *attempt) outcome(state export.State) export.Outcome {
	out := export.Outcome{
		ID: a.req.ID, State: state, Attempt: a.claim.Token.Attempt,
		StartedAt: a.claim.Started.UTC(), FinishedAt: a.claim.Started.Add(time.Since(a.begun)).UTC(),
		RequestedBy: a.req.RequestedBy, Metadata: a.req.Metadata, Trace: a.req.Trace,
	}
	if a.req.Refusal == nil {
		out.Payload = a.req.Payload
	}
	return out
}
