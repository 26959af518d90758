package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Cancelling is the part of the ledger that a Canceller uses.
type Cancelling interface {
	// Find returns the requests with an id: at most one with a project, at most two without. No match
	// is not an error.
	Find(ctx context.Context, request, project string) ([]ID, error)
	// Cancel records that the request ends without an export, and ends it at once if no worker holds
	// it. After that its only outcome is failed with Cancelled: a claim is not granted, and the
	// owner's Renew and Finish return ErrCancelled. Repeating it changes nothing. ErrUnknown: the
	// ledger has no such request.
	Cancel(ctx context.Context, id ID, by string) (Cancellation, error)
	// CancelQueued is Cancel for a request that waits in the queue. The ledger need not know it.
	CancelQueued(ctx context.Context, r Request, d delivery.Delivery, by string) (Cancellation, error)
}

// Cancellation is the ledger's answer to a cancel.
type Cancellation struct {
	// Outcome is the outcome of the request, new or earlier; nil: its owner will end it.
	Outcome *Outcome
}

// WaitingQueue holds the requests that no worker has seen yet.
type WaitingQueue interface {
	// Waiting returns the waiting requests with an id, of one project, or of all if project is empty.
	// It may miss requests behind very many others.
	Waiting(ctx context.Context, request, project string) ([]QueuedRequest, error)
	// Remove deletes a request's message from the queue. A message that is gone or waits elsewhere
	// is not an error.
	Remove(ctx context.Context, d delivery.Delivery) error
}

var (
	// ErrCancelled says that the request was cancelled and must end without an export.
	ErrCancelled = errors.New("request cancelled")
	// ErrUnknown says that no such request is recorded or waits.
	ErrUnknown = errors.New("no such request")
	// ErrAmbiguous says that several projects have a request with that id.
	ErrAmbiguous = errors.New("several projects use the request id")
)

// CancelledBy returns the fault of a cancelled request. by names the canceller, for people; empty:
// unknown.
func CancelledBy(by string) *Fault {
	f := &Fault{Code: codes.Cancelled, Message: "the request was cancelled", Err: ErrCancelled}
	if by != "" {
		f.Message += " by " + by
	}
	return f
}

// CancellerConfig configures a Canceller. All fields except Log are required.
type CancellerConfig struct {
	Ledger    Cancelling
	Queue     WaitingQueue
	Announcer Announcer
	// Tell informs all workers that the request was cancelled. Its owner then looks at the ledger: see
	// Nudges. Tell must not block. If its message is lost, the owner notices the cancel at its next renewal.
	Tell func(ID)
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Canceller cancels requests. The record in the ledger is authoritative; Tell only shortens the
// delay. It is safe for concurrent use, in any number of processes.
type Canceller struct{ CancellerConfig }

// NewCanceller returns a Canceller over c with its defaults filled in.
func NewCanceller(c CancellerConfig) *Canceller {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Canceller{c}
}

// Cancel records that a request ends without an export. project may be empty if only one project
// uses the request id. Cancel returns the request's full id and its outcome, which is nil until its
// owner ends it.
//
// ErrUnknown, ErrAmbiguous. Other errors mean that the cancel could not be recorded.
func (c *Canceller) Cancel(ctx context.Context, request, project, by string) (ID, *Outcome, error) {
	known, err := c.Ledger.Find(ctx, request, project)
	if err != nil {
		return ID{}, nil, err
	}
	var id ID
	var got Cancellation
	switch len(known) {
	case 0:
		id, got, err = c.queued(ctx, request, project, by)
	case 1:
		id = known[0]
		got, err = c.Ledger.Cancel(ctx, id, by)
	default:
		return ID{}, nil, fmt.Errorf("cancel %s: %w", request, ErrAmbiguous)
	}
	if err != nil {
		return id, nil, err
	}
	if got.Outcome == nil {
		c.Tell(id)
		return id, nil, nil
	}
	// The sweeper publishes the outcome if that fails here.
	if err := c.Announcer.Announce(ctx, *got.Outcome); err != nil {
		c.Log.WarnContext(ctx, "outcome not announced, left to the sweeper", "project_id", id.Project, "request_id", id.Request, "error", err)
	}
	return id, got.Outcome, nil
}

// queued cancels a request that no worker has seen.
func (c *Canceller) queued(ctx context.Context, request, project, by string) (ID, Cancellation, error) {
	waiting, err := c.Queue.Waiting(ctx, request, project)
	if err != nil {
		return ID{}, Cancellation{}, err
	}
	if len(waiting) == 0 {
		// A worker may have claimed it between the two look-ups.
		known, err := c.Ledger.Find(ctx, request, project)
		switch {
		case err != nil:
			return ID{}, Cancellation{}, err
		case len(known) == 0:
			return ID{}, Cancellation{}, fmt.Errorf("cancel %s: %w", request, ErrUnknown)
		case len(known) > 1:
			return ID{}, Cancellation{}, fmt.Errorf("cancel %s: %w", request, ErrAmbiguous)
		}
		got, err := c.Ledger.Cancel(ctx, known[0], by)
		return known[0], got, err
	}
	first := waiting[0]
	for _, w := range waiting[1:] {
		if w.Request.ID != first.Request.ID {
			return ID{}, Cancellation{}, fmt.Errorf("cancel %s: %w", request, ErrAmbiguous)
		}
	}
	got, err := c.Ledger.CancelQueued(ctx, first.Request, first.Delivery, by)
	if err == nil && got.Outcome != nil {
		// Without this, the message would be delivered and settled later. Its removal frees a place in
		// the project's queue.
		for _, w := range waiting {
			if err := c.Queue.Remove(ctx, w.Delivery); err != nil {
				c.Log.WarnContext(ctx, "cancelled request not removed from the queue, left to a worker", "project_id", first.Request.Project, "request_id", request, "error", err)
			}
		}
	}
	return first.Request.ID, got, err
}
