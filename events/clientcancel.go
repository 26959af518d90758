package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// cancelTimeout bounds Cancel where the context has no deadline. A worker answers when
// its ledger has taken the cancel, which it gives ten seconds.
const cancelTimeout = 15 * time.Second

// Cancel asks the workers to cancel a request and returns the first definite answer. A
// worker that is paused or cut off from its ledger does not keep others from answering. It
// waits until ctx ends, or 15 seconds if ctx has no deadline.
//
// A request that can no longer be cancelled is an answer, not an error. The error is an
// *InvalidError if c breaks the contract, or wraps ErrUnavailable when no worker listens,
// none answered in time, or none could record it. Asking again is safe.
//
// With restricted users it needs the right to publish to CancelSubject and to subscribe to
// its own inbox.
func (c *Client) Cancel(ctx context.Context, ask Cancel) (CancelReply, error) {
	m, err := ask.Encode()
	if err != nil {
		return CancelReply{}, err
	}
	what := "cancel " + ask.RequestID
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
	}
	inbox := c.nc.NewInbox()
	answers, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return CancelReply{}, fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only on a closed connection
	out := natsMsg(m)
	out.Reply = inbox
	if err := c.nc.PublishMsg(out); err != nil {
		return CancelReply{}, fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	}
	return definite(ctx, what, answers)
}

// definite waits for an answer that says more than to ask again.
func definite(ctx context.Context, what string, answers *nats.Subscription) (CancelReply, error) {
	why := errors.New("no worker answered in time")
	for {
		m, err := answers.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return CancelReply{}, fmt.Errorf("%s: %w: no worker listens", what, ErrUnavailable)
		case err != nil && ctx.Err() == nil:
			return CancelReply{}, fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
		case errors.Is(context.Cause(ctx), context.Canceled):
			return CancelReply{}, fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case err != nil:
			return CancelReply{}, fmt.Errorf("%s: %w: %w", what, ErrUnavailable, why)
		}
		r, err := DecodeCancelReply(fromNATS("", m.Header, m.Data))
		switch {
		case err != nil: // not a worker's, or a later version's: another may be understood
			why = err
		case r.Result == CancelUnavailable:
			why = errors.New(r.Message)
		default:
			return r, nil
		}
	}
}
