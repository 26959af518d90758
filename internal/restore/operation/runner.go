package operation

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/failpoint"
)

// Config configures a Runner. All fields but Log are required.
type Config struct {
	Ledger   Ledger
	Targets  Targets
	Exports  Exports
	Engine   Engine
	Observer Observer
	// Reaper settles a restore that has no attempts left.
	Reaper *Reaper
	// Lease is how long a claim lasts without renewal. It must equal the ledger's.
	Lease time.Duration
	// MaxAttempts bounds the attempts of one restore. It must equal the ledger's.
	MaxAttempts int
	// Worker names this process in the ledger, for people.
	Worker string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Runner runs restores. It is safe for concurrent use.
type Runner struct {
	Config
	nudges export.Nudges
}

// New returns a Runner over c.
func New(c Config) *Runner {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Runner{Config: c}
}

// Nudge makes the owner of a restore, if it is this Runner, read the ledger now instead of at its
// next renewal.
func (r *Runner) Nudge(id export.ID) { r.nudges.Nudge(id) }

// Run works on one delivered request until its outcome, or until it must be delivered again. Its
// results are those of export.Exporter.Run.
func (r *Runner) Run(ctx context.Context, req export.Request, d delivery.Delivery) (export.Outcome, error) {
	return r.run(ctx, req, delivered{d, true}, 0)
}

// RunDead is Run for a request that the queue will not deliver again. It does not stand by while
// another attempt holds the restore, but returns a *export.TurnError.
func (r *Runner) RunDead(ctx context.Context, req export.Request, d delivery.Delivery) (export.Outcome, error) {
	return r.run(ctx, req, delivered{d, false}, 0)
}

func (r *Runner) run(ctx context.Context, req export.Request, d delivered, conflicts int) (export.Outcome, error) {
	nudged, leave := r.nudges.Join(req.ID) // before the claim, so that it misses no nudge after it
	defer leave()
	claim, err := r.claim(ctx, req, d)
	switch {
	case errors.Is(err, ErrUnsettled): // all attempts are used up
		out, err := r.Reaper.settle(ctx, req.ID, 0)
		if errors.Is(err, export.ErrNotLost) {
			return export.Outcome{}, &export.TurnError{Wait: turnPause}
		}
		if err != nil {
			return export.Outcome{}, export.AsFault(export.Interruption(ctx, err))
		}
		return out, nil
	case err != nil:
		return export.Outcome{}, err
	case claim.Verdict == export.Ended:
		return claim.Outcome, nil
	case claim.Verdict == export.Conflicting:
		return r.run(ctx, export.Conflict(req, d.Delivery, conflicts), d, conflicts+1)
	}
	failpoint.Hit(failpoint.AfterClaim)
	log := r.Log.With("project_id", req.Project, "restore_id", req.Request, "attempt", claim.Token.Attempt, "delivery", d.Number)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer r.keepLease(work, claim.Token, nudged, cancel, log)()

	a := &attempt{Runner: r, req: req, claim: claim, log: log, begun: time.Now()}
	result, err := a.perform(work)
	if errors.Is(context.Cause(work), export.ErrSuperseded) || errors.Is(err, export.ErrSuperseded) {
		log.WarnContext(ctx, "attempt superseded")
		return export.Outcome{}, export.ErrSuperseded
	}
	if cause := context.Cause(work); err != nil && errors.Is(cause, export.ErrCancelled) {
		err = cause
	}
	ending := a.ending(ctx, d, result, export.Interruption(ctx, err))
	failpoint.Hit(failpoint.BeforeCommit)
	err = a.finish(ctx, ending)
	if errors.Is(err, export.ErrCancelled) { // while the attempt was about to end otherwise
		ending = a.ending(ctx, d, nil, err)
		err = a.finish(ctx, ending)
	}
	if errors.Is(err, ErrUnsettled) { // an earlier attempt has begun to place, and this one cannot ask the target
		ending = export.Ending{Retry: &export.Fault{Code: ending.Outcome.Code, Message: ending.Outcome.Message, Err: err}}
		err = a.finish(ctx, ending)
	}
	failpoint.Hit(failpoint.AfterCommit)
	switch {
	case errors.Is(err, export.ErrSuperseded):
		log.WarnContext(ctx, "attempt superseded")
		return export.Outcome{}, export.ErrSuperseded
	case err != nil:
		log.ErrorContext(ctx, "attempt not ended", "error", err)
		return export.Outcome{}, export.AsFault(err)
	case ending.Retry != nil:
		log.WarnContext(ctx, "attempt failed, to be tried again", "code", ending.Retry.Code, "error", ending.Retry)
		return export.Outcome{}, ending.Retry
	}
	return *ending.Outcome, nil
}

const (
	shortestWait = 50 * time.Millisecond
	// longestStandBy bounds the pause between two looks at another attempt's lease.
	longestStandBy = time.Second
	// turnPause bounds the pause before a restore is tried again that waits for one into the same
	// project.
	turnPause = 500 * time.Millisecond
	// cleanUp bounds the work for an attempt after its context has ended.
	cleanUp = 20 * time.Second
)

// claim repeats the claim until the restore is granted, ended or in conflict. See
// export.Exporter.Run.
func (r *Runner) claim(ctx context.Context, req export.Request, d delivered) (export.Claim, error) {
	ask := export.ClaimRequest{Request: req, Delivery: d.Delivery, Worker: r.Worker, Nonce: rand.Text()}
	for {
		var c export.Claim
		err := export.Retry(ctx, r.wait(), func(ctx context.Context) (err error) {
			c, err = r.Ledger.Claim(ctx, ask)
			return err
		})
		switch {
		case errors.Is(err, ErrUnsettled):
			return export.Claim{}, err
		case err != nil:
			return export.Claim{}, export.AsFault(export.Interruption(ctx, err))
		case c.Verdict == export.Busy, c.Verdict == export.Leased && !d.standBy:
			return export.Claim{}, &export.TurnError{Wait: min(max(c.Wait, shortestWait), turnPause)}
		case c.Verdict != export.Leased:
			return c, nil
		}
		pause := time.NewTimer(min(max(c.Wait, shortestWait), longestStandBy))
		select {
		case <-ctx.Done():
			pause.Stop()
			return export.Claim{}, export.AsFault(export.Interruption(ctx, context.Cause(ctx)))
		case <-pause.C:
		}
	}
}

// keepLease renews the attempt's lease every third of it and when it is nudged. It cancels the work if
// the attempt was superseded or its restore cancelled. The returned function stops keepLease and waits
// for its end.
func (r *Runner) keepLease(ctx context.Context, t export.Token, nudged <-chan struct{}, cancel context.CancelCauseFunc, log *slog.Logger) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.Lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-nudged:
			}
			switch err := r.Ledger.Renew(ctx, t); {
			case errors.Is(err, export.ErrSuperseded):
				cancel(export.ErrSuperseded)
				return
			case errors.Is(err, export.ErrCancelled):
				cancel(err) // the error names the canceller; the lease lasts while the target is asked
			case err != nil && ctx.Err() == nil:
				log.WarnContext(ctx, "lease not renewed", "error", err)
			}
		}
	}()
	return func() { end(); <-done }
}

func (r *Runner) wait() export.Wait { return export.Wait{For: "the ledger", Log: r.Log} }

// ledger runs a call of the ledger until it is answered.
func ledger[T any](ctx context.Context, r *Runner, call func(context.Context) (T, error)) (out T, err error) {
	err = export.Retry(ctx, r.wait(), func(ctx context.Context) (err error) {
		out, err = call(ctx)
		return err
	})
	return out, err
}

// moved is the fault of an attempt whose target is not the one in which an attempt began, so that it
// cannot be asked now.
func moved() *export.Fault {
	return &export.Fault{Code: codes.TargetUnavailable, Message: "the control plane names another target than when the restore began"}
}

// unknown is the fault of a restore whose target cannot be asked any more.
func unknown(why string) *export.Fault {
	return &export.Fault{Code: codes.RestoreUnknown, Message: "it is not known whether the restore was made: " + why}
}
