package export

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/failpoint"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Config configures an Exporter. Ledger, Projects, Dumper, Inspect and Store are required.
type Config struct {
	Ledger   Ledger
	Projects Projects
	Dumper   Dumper
	// Inspect returns an Inspector for one dump of that format.
	Inspect  func(Format) (Inspector, error)
	Store    Store
	Observer Observer // default: starts and progress are not reported
	// Announced finds completed exports that the ledger has lost. nil: it loses none.
	Announced *Announced

	// Seal is the template for each stream: cap, concurrency, and the level of the compression where
	// neither the request nor the project says one. Each request sets the other fields.
	Seal seal.Options
	// Recipients are the operator's keys: every export is encrypted to them.
	Recipients []seal.Recipient
	// Required says which recipients an export must have. Default: none.
	Required Required
	// Receipt returns the signed receipt of a completed export under key. Nil: exports have no
	// receipt.
	Receipt func(key string, out Outcome) (*Receipt, error)
	// Lease is how long a claim lasts without renewal. It is renewed every third of it. It must equal
	// the ledger's. Default 30 s.
	Lease time.Duration
	// MaxAttempts bounds the attempts of one request. Default 3.
	MaxAttempts int
	// Worker names this process in the ledger, for people.
	Worker string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Observer == nil {
		c.Observer = silent{}
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 3
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Exporter runs requests. It is safe for concurrent use.
type Exporter struct {
	Config
	nudges Nudges
}

// New returns an Exporter over c with its defaults filled in.
func New(c Config) *Exporter { return &Exporter{Config: c.withDefaults()} }

// Nudge makes the owner of a request, if it is this Exporter, read the ledger now instead of at its
// next renewal. It never blocks.
func (e *Exporter) Nudge(id ID) { e.nudges.Nudge(id) }

// Run works on one delivered request until its outcome, or until it must be delivered again.
//
//	outcome, nil        the request is terminal: announce the outcome, then acknowledge
//	nil, ErrSuperseded  another attempt owns it: settle nothing, announce nothing
//	nil, *TurnError     it is not its turn: keep the message and ask again later
//	nil, *Fault         this attempt failed and another may help: deliver it again
//
// While the ledger is unreachable Run waits; it returns early only when ctx ends. Members of a
// group share a dump and nothing else: each has its own claim, outcome and failure.
func (e *Exporter) Run(ctx context.Context, req Request, d delivery.Delivery, g Group) (Outcome, error) {
	if g.Member != nil {
		defer g.Member.Leave()
		if !g.admits(ctx, e, req) {
			return Outcome{}, &TurnError{}
		}
	}
	// Group members do not stand by: the others wait for them.
	return e.run(ctx, req, delivered{Delivery: d, standBy: g.Member == nil, group: g}, 0)
}

// RunDead is Run for a request that the queue will not deliver again. It does not stand by while
// another attempt holds the request, but returns a *TurnError.
func (e *Exporter) RunDead(ctx context.Context, req Request, d delivery.Delivery) (Outcome, error) {
	return e.run(ctx, req, delivered{Delivery: d}, 0)
}

// delivered is a delivery with the options of its run.
type delivered struct {
	delivery.Delivery
	standBy bool // while another attempt holds the request
	group   Group
}

// run runs a request. conflicts counts the ids of the message that another request turned out to
// have.
func (e *Exporter) run(ctx context.Context, req Request, d delivered, conflicts int) (Outcome, error) {
	failpoint.Hit(failpoint.BeforeClaim)
	req.encrypted = e.willEncrypt(ctx, req)
	nudged, leave := e.nudges.Join(req.ID) // before the claim, so that it misses no nudge after it
	defer leave()
	claim, err := e.claim(ctx, req, d.Delivery, d.standBy)
	switch {
	case err != nil:
		e.logUnrecorded(ctx, req, d.Delivery, "request not claimed", err)
		return Outcome{}, err
	case claim.Verdict == Ended:
		if claim.Outcome.Code == codes.WorkerLost {
			switch out, err := e.announced(ctx, req.ID); {
			case err != nil:
				return Outcome{}, err
			case out != nil:
				return *out, nil
			}
		}
		return claim.Outcome, nil
	case claim.Verdict == Conflicting:
		return e.run(ctx, Conflict(req, d.Delivery, conflicts), d, conflicts+1)
	}
	failpoint.Hit(failpoint.AfterClaim)
	log := e.Log.With("project_id", req.Project, "request_id", req.Request,
		"attempt", claim.Token.Attempt, "delivery", d.Number)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer e.keepLease(work, claim.Token, nudged, cancel, log)()

	begun := time.Now()
	made := e.attempt(work, req, claim, d.group)
	if made.announced != nil { // the ledger has ended the attempt with it
		err := e.finish(ctx, claim.Token, Ending{Outcome: made.announced})
		if err != nil && !errors.Is(err, ErrSuperseded) {
			return Outcome{}, AsFault(err)
		}
		return *made.announced, nil
	}
	if errors.Is(context.Cause(work), ErrSuperseded) {
		return Outcome{}, e.abandon(ctx, claim.Token, made.object, log)
	}
	var ending Ending
	if errors.Is(context.Cause(work), ErrCancelled) {
		ending = e.cancelled(ctx, req, claim, made.object, context.Cause(work), time.Since(begun), log)
	} else {
		ending = e.ending(req, d.Delivery, claim, made.artifact, Interruption(ctx, made.err), time.Since(begun))
	}
	ending.Unwritten = made.taken
	failpoint.Hit(failpoint.BeforeCommit)
	err = e.finish(ctx, claim.Token, ending)
	if errors.Is(err, ErrCancelled) { // while the attempt was about to end otherwise
		ending = e.cancelled(ctx, req, claim, made.object, err, time.Since(begun), log)
		ending.Unwritten = made.taken
		err = e.finish(ctx, claim.Token, ending)
	}
	failpoint.Hit(failpoint.AfterCommit)
	switch {
	case errors.Is(err, ErrSuperseded):
		return Outcome{}, e.abandon(ctx, claim.Token, made.object, log)
	case err != nil:
		e.logUnrecorded(ctx, req, d.Delivery, "attempt not ended", err)
		return Outcome{}, AsFault(err)
	case ending.Retry != nil:
		log.WarnContext(ctx, "attempt failed, to be tried again", "code", ending.Retry.Code, "error", ending.Retry)
		return Outcome{}, ending.Retry
	}
	logOutcome(ctx, log, *ending.Outcome, ending.cause)
	return *ending.Outcome, nil
}

// logUnrecorded logs an error of the ledger that is neither an outage nor a decision. Such a
// delivery is used up without a record in the ledger.
func (e *Exporter) logUnrecorded(ctx context.Context, req Request, d delivery.Delivery, msg string, err error) {
	if fault, ok := errors.AsType[*Fault](err); ok && fault.Code == codes.Interrupted {
		return
	}
	if _, turn := errors.AsType[*TurnError](err); turn {
		return
	}
	//nolint:sloglint // each caller gives a constant
	e.Log.ErrorContext(ctx, msg, "project_id", req.Project, "request_id", req.Request, "delivery", d.Number, "last", d.Last, "error", err)
}

// claim repeats the claim until the request is granted, ended or in conflict. While another attempt
// holds the lease it stands by, if it may: the broker's heartbeats continue, so this costs no
// delivery. While another request of the project runs it returns a *TurnError, so that another
// project can run.
func (e *Exporter) claim(ctx context.Context, req Request, d delivery.Delivery, standBy bool) (Claim, error) {
	ask := ClaimRequest{
		Request: req, Delivery: d, Worker: e.Worker,
		// Without a nonce, a claim with a lost reply would wait for its own lease and cost an attempt.
		Nonce:  rand.Text(),
		Object: func(n int) string { return e.key(req, n) },
	}
	var standing Reminder
	for {
		var c Claim
		err := Retry(ctx, e.wait("the ledger"), func(ctx context.Context) (err error) {
			c, err = e.Ledger.Claim(ctx, ask)
			return err
		})
		if err != nil {
			return Claim{}, AsFault(Interruption(ctx, err))
		}
		switch {
		case c.Verdict == Busy, c.Verdict == Leased && !standBy:
			return Claim{}, &TurnError{Wait: min(max(c.Wait, shortestWait), turnPause)}
		case c.Verdict != Leased:
			return c, nil
		}
		if waited, due := standing.Due(); due {
			e.Log.InfoContext(ctx, "standing by: another attempt holds the request", "project_id", req.Project, "request_id", req.Request,
				"waited", waited.Round(time.Second), "lease", c.Wait.Round(time.Second))
		}
		if err := sleep(ctx, min(max(c.Wait, shortestWait), longestStandBy)); err != nil {
			return Claim{}, AsFault(Interruption(ctx, err))
		}
	}
}

const (
	shortestWait = 50 * time.Millisecond
	// longestStandBy bounds the pause between two looks at another attempt's lease. After the loss of
	// a worker, a stand-by adds at most this to the lease.
	longestStandBy = time.Second
	// turnPause bounds the pause before a request is tried again that waits for one of its project in
	// another process. It adds at most this to the wait.
	turnPause = 500 * time.Millisecond
)

// keepLease renews the attempt's lease every third of it and when it is nudged. It cancels the work
// if the attempt was superseded or its request cancelled. An unreachable ledger changes nothing,
// because no other worker can claim then either. The returned function stops keepLease and waits
// for its end.
func (e *Exporter) keepLease(ctx context.Context, t Token, nudged <-chan struct{}, cancel context.CancelCauseFunc, log *slog.Logger) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleepUnless(ctx, e.Lease/3, nudged) == nil {
			err := e.Ledger.Renew(ctx, t)
			switch {
			case errors.Is(err, ErrSuperseded):
				cancel(ErrSuperseded)
				return
			case errors.Is(err, ErrCancelled):
				cancel(err) // the error names the canceller
				return
			case err != nil && ctx.Err() == nil:
				log.WarnContext(ctx, "lease not renewed", "error", err)
			}
		}
	}()
	return func() { end(); <-done }
}

func (e *Exporter) receipt(key string, out Outcome) (*Receipt, error) {
	if e.Receipt == nil {
		return nil, nil //nolint:nilnil // no signer, which is not an error
	}
	return e.Receipt(key, out)
}

// finish records the ending. It waits for the ledger while the process may run.
func (e *Exporter) finish(ctx context.Context, t Token, end Ending) error {
	ctx, cancel := WithGrace(ctx, cleanUp)
	defer cancel()
	return Retry(ctx, e.wait("the ledger"), func(ctx context.Context) error { return e.Ledger.Finish(ctx, t, end) })
}

func (e *Exporter) wait(what string) Wait { return Wait{For: what, Log: e.Log} }

// cleanUp bounds the work for an attempt after its context has ended.
const cleanUp = 10 * time.Second

// abandon deletes what a superseded attempt stored, and reports nothing. The collector deletes what
// abandon cannot.
func (e *Exporter) abandon(ctx context.Context, t Token, object string, log *slog.Logger) error {
	ctx, cancel := WithGrace(ctx, cleanUp)
	defer cancel()
	log.WarnContext(ctx, "attempt superseded")
	failpoint.Hit(failpoint.BeforeDiscard)
	if _, err := e.discard(ctx, t, object); err != nil {
		log.WarnContext(ctx, "superseded attempt's object not deleted, left to the collector", "error", err)
	}
	return ErrSuperseded
}

// discard deletes the object of an attempt, unless an announced outcome names the attempt; empty: it has
// none. It returns the announced outcome of the request, nil: there is none. If it cannot look for one, it
// deletes nothing.
func (e *Exporter) discard(ctx context.Context, t Token, object string) (*Outcome, error) {
	out, err := e.announced(ctx, t.ID)
	if err != nil || object == "" || out != nil && out.Attempt == t.Attempt {
		return out, err
	}
	return out, e.Store.Delete(ctx, object)
}

// cancelled deletes what a cancelled attempt stored and returns its ending: nothing may remain when
// its outcome is published. The collector deletes what cancelled cannot. An export that was announced
// before is not cancelled: it is the ending then.
func (e *Exporter) cancelled(ctx context.Context, req Request, claim Claim, object string, why error, took time.Duration, log *slog.Logger) Ending {
	ctx, cancel := WithGrace(ctx, cleanUp)
	defer cancel()
	announced, err := e.discard(ctx, claim.Token, object)
	if err != nil {
		log.WarnContext(ctx, "cancelled attempt's object not deleted, left to the collector", "error", err)
	}
	if announced != nil {
		return Ending{Outcome: announced}
	}
	return e.failed(req, claim, AsFault(why), took)
}
