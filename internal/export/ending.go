package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/failpoint"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// ending decides how an attempt ends: completed, failed for good, or to be retried. A failure is
// final if a retry cannot help, if all attempts are used, or if the broker will not deliver the
// request again.
func (e *Exporter) ending(req Request, d delivery.Delivery, claim Claim, a *Artifact, err error, took time.Duration) Ending {
	if err == nil {
		out := completed(req, claim, a, took)
		return Ending{Outcome: &out}
	}
	fault := AsFault(err)
	if !fault.Code.Permanent() && claim.Token.Attempt < e.MaxAttempts && !d.Last {
		return Ending{Retry: fault}
	}
	return e.failed(req, claim, fault, took)
}

// failed returns the ending that makes the request terminal with a fault.
func (e *Exporter) failed(req Request, claim Claim, fault *Fault, took time.Duration) Ending {
	out := ended(req, Failed, claim, took)
	out.Code, out.Permanent, out.Message = fault.Code, fault.Code.Permanent(), fault.Message
	return Ending{Outcome: &out, cause: fault}
}

func completed(req Request, claim Claim, a *Artifact, took time.Duration) Outcome {
	out := ended(req, Completed, claim, took)
	out.Artifact = a
	return out
}

// ended sets the fields that both outcomes share. FinishedAt is the ledger's time of the claim plus
// the elapsed monotonic time of this process, so the worker's wall clock has no effect.
func ended(req Request, state State, claim Claim, took time.Duration) Outcome {
	out := Outcome{
		ID: req.ID, State: state, Attempt: claim.Token.Attempt,
		StartedAt: claim.Started.UTC(), FinishedAt: claim.Started.Add(took).UTC(),
		RequestedBy: req.RequestedBy, Metadata: req.Metadata, Trace: req.Trace,
	}
	if req.Refusal == nil {
		out.Payload = req.Payload
	}
	return out
}

// Conflict returns a request in place of one with an id that another request has. It has an id of
// its own, so that the first request's outcome is unchanged. A publisher that has seen such an id
// can use the next one for a request; the message then gets a further id, the same at each
// delivery. before counts the ids of the message that were already taken.
func Conflict(req Request, d delivery.Delivery, before int) Request {
	if before == 0 {
		req.Refusal = &Fault{Code: codes.RequestConflict, Message: "the request id " + req.Request + " belongs to an earlier request with other contents"}
		req.ID.Request = d.EventID
		return req
	}
	req.ID.Request = fmt.Sprintf("%s-c%d", d.EventID, before)
	return req
}

// sealFault adds codes to the sealed stream's own errors.
func sealFault(err error) error {
	if _, ok := errors.AsType[*Fault](err); ok {
		return err
	}
	if limit, ok := errors.AsType[*seal.SizeLimitError](err); ok {
		return &Fault{Code: codes.SizeLimit, Message: limit.Error(), Err: err}
	}
	return err
}

// Interruption returns err, or the Interrupted fault if err is only the end of ctx: the worker is
// stopping, and the request is not at fault.
func Interruption(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || !errors.Is(err, cause) && !errors.Is(err, ctx.Err()) {
		return err
	}
	return &Fault{Code: codes.Interrupted, Message: "the worker was told to stop", Err: err}
}

// firstError records the first error of a reader, even if the consumer hides it.
type firstError struct {
	r   io.Reader
	err error
}

func (f *firstError) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 {
		failpoint.Hit(failpoint.MidStream)
	}
	if err != nil && !errors.Is(err, io.EOF) && f.err == nil {
		f.err = err
	}
	return n, err
}

func logOutcome(ctx context.Context, log *slog.Logger, out Outcome, cause error) {
	if out.State == Completed {
		log.InfoContext(ctx, "export completed", "size_bytes", out.Artifact.SizeBytes,
			"stored_bytes", out.Artifact.StoredBytes, "rows", out.Artifact.Rows, "duration", out.FinishedAt.Sub(out.StartedAt))
		return
	}
	log.WarnContext(ctx, "export failed", "code", out.Code, "permanent", out.Permanent, "error", cause)
}

type silent struct{}

func (silent) Started(context.Context, Started)   {}
func (silent) Progress(context.Context, Progress) {}
