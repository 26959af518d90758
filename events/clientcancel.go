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
	return answerTo(ctx, c, question{what: "cancel " + ask.RequestID, to: "worker", message: m}, DecodeCancelReply)
}

// later implements reply.
func (r CancelReply) later() string {
	if r.Result == CancelUnavailable {
		return r.Message
	}
	return ""
}

// reply is an answer to a question.
type reply interface {
	// later returns why the question must be asked again; empty: the answer is definite.
	later() string
}

// question is a question over plain NATS.
type question struct {
	what    string // for errors
	to      string // what answers it, for errors
	message Message
}

// answerTo publishes a question and returns the first definite answer.
func answerTo[R reply](ctx context.Context, c *Client, q question, decode func(Message) (R, error)) (R, error) {
	var none R
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
	}
	inbox := c.nc.NewInbox()
	answers, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return none, fmt.Errorf("%s: %w: %w", q.what, ErrUnavailable, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only on a closed connection
	out := natsMsg(q.message)
	out.Reply = inbox
	if err := c.nc.PublishMsg(out); err != nil {
		return none, fmt.Errorf("%s: %w: %w", q.what, ErrUnavailable, err)
	}
	return definite(ctx, q, answers, decode)
}

// definite waits for an answer that says more than to ask again.
func definite[R reply](ctx context.Context, q question, answers *nats.Subscription, decode func(Message) (R, error)) (R, error) {
	var none R
	why := fmt.Errorf("no %s answered in time", q.to)
	for {
		m, err := answers.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return none, fmt.Errorf("%s: %w: no %s listens", q.what, ErrUnavailable, q.to)
		case err != nil && ctx.Err() == nil:
			return none, fmt.Errorf("%s: %w: %w", q.what, ErrUnavailable, err)
		case errors.Is(context.Cause(ctx), context.Canceled):
			return none, fmt.Errorf("%s: %w", q.what, context.Cause(ctx))
		case err != nil:
			return none, fmt.Errorf("%s: %w: %w", q.what, ErrUnavailable, why)
		}
		r, err := decode(fromNATS("", m.Header, m.Data))
		switch {
		case err != nil: // not of this version: another process may be understood
			why = err
		case r.later() != "":
			why = errors.New(r.later())
		default:
			return r, nil
		}
	}
}
