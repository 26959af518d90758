package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// lookEvery is how often a waiting client looks for a stored outcome unprompted, in
	// case the announcement was lost: while reconnecting, or as a slow consumer.
	lookEvery = 2 * time.Second
	// callTimeout bounds one question to the broker.
	callTimeout = 5 * time.Second
	// lookRetries and lookRetryWait bound the search for an outcome that was announced but is not
	// stored yet: subscribers hear of a message before the stream has it. An outcome that is not
	// stored by then was refused by the stream and does not count.
	lookRetries   = 8
	lookRetryWait = 10 * time.Millisecond // doubled each time: 2.5 seconds in all
)

// Await returns the request's outcome: the one that is stored, or else the one to come.
// It survives reconnects and leaves nothing behind at the broker. A caller that
// chose the id asks Outcome.Answers whether the outcome is of the same contents.
//
// Only an outcome that the stream holds counts; one that is merely published does not.
// The error is an *InvalidError for malformed ids; it wraps ctx's error when ctx ends,
// and ErrUnavailable when the connection is closed for good or the stream is missing.
func (c *Client) Await(ctx context.Context, project, requestID string) (Outcome, error) {
	if err := checkIDs(project, requestID); err != nil {
		return Outcome{}, err
	}
	if project == "" || requestID == "" {
		return Outcome{}, invalid("request_id", "and project_id are both needed")
	}
	f := &follower{client: c, of: followedExports, project: project, request: requestID, outcomesOnly: true}
	for e, err := range f.run(ctx) {
		if err != nil {
			return Outcome{}, fmt.Errorf("await outcome of %s/%s: %w", project, requestID, err)
		}
		return e.Outcome, nil
	}
	return Outcome{}, fmt.Errorf("await outcome of %s/%s: %w", project, requestID, context.Cause(ctx))
}

// Watch yields what happens to requests, as it happens. Leaving the loop ends it and leaves nothing
// behind. An error is yielded once, last, of the kinds that Await returns.
//
// With a project and a request id it first yields what is stored (the latest Started,
// and the outcome if there is one), and ends without an error after the outcome. Either
// may be empty, which means all: then only live events are yielded, until ctx ends.
//
// It is a view, not a log: Started and Progress may be lost while reconnecting or when
// the loop's body is slow, and over several requests so may outcomes. A program that must
// act on each outcome binds a durable consumer to StreamOutcomes instead.
func (c *Client) Watch(ctx context.Context, project, requestID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := checkIDs(project, requestID)
		if err != nil {
			yield(Event{}, err)
			return
		}
		f := &follower{client: c, of: followedExports, project: project, request: requestID}
		for e, err := range f.run(ctx) {
			if err != nil {
				err = fmt.Errorf("watch: %w", err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// checkIDs refuses ids that would change the meaning of a subject. Failed requests of
// NoProject can be followed too.
func checkIDs(project, request string) error {
	if project != "" && !ValidRequest(project) {
		return invalid("project_id", idRule)
	}
	if request != "" && !ValidRequest(request) {
		return invalid("request_id", idRule)
	}
	return nil
}

// follower yields the events of one request, or of all that match. Announcements come
// over one plain subscription, which keeps their order. The announcement of an outcome is only
// a hint: the outcome counts if the stream holds it.
type follower struct {
	client           *Client
	of               followed
	project, request string // empty: all
	outcomesOnly     bool

	sub     *nats.Subscription
	attempt int // the latest Started that was yielded for the one request
}

// single reports whether exactly one request is followed.
func (f *follower) single() bool { return f.project != "" && f.request != "" }

// token is an id, or the wildcard for an absent one.
func token(id string) string {
	if id == "" {
		return "*"
	}
	return id
}

func (f *follower) run(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		sub, err := f.client.nc.SubscribeSync(f.of.filter(token(f.project), token(f.request)))
		if err != nil {
			yield(Event{}, fmt.Errorf("subscribe: %w: %w", ErrUnavailable, err))
			return
		}
		f.sub = sub
		defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection, which holds no subscriptions
		f.flush(ctx)
		if !f.single() {
			f.live(ctx, yield)
			return
		}
		if done := f.stored(ctx, yield); done {
			return
		}
		f.live(ctx, yield)
	}
}

// flush waits until the server knows the subscription, so that no event is missed between it
// and the first look at the stream. While the connection is down this is not possible; the
// regular look then finds the outcome.
func (f *follower) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_ = f.client.nc.FlushWithContext(ctx)
}

// stored yields what the streams hold of the one request. Both are read before anything
// is yielded, so that what comes meanwhile is told live and in order.
func (f *follower) stored(ctx context.Context, yield func(Event, error) bool) (done bool) {
	var begun Event
	var err error
	if !f.outcomesOnly {
		begun, err = f.client.lastStarted(ctx, f.of, f.project, f.request)
		if _, malformed := errors.AsType[*InvalidError](err); final(err) && !malformed {
			yield(Event{}, unavailable(err))
			return true
		}
	}
	outcome, outcomeErr := f.client.storedOutcome(ctx, f.of, f.project, f.request)
	if attemptOf(begun) > 0 && !f.yieldStarted(begun, yield) {
		return true
	}
	return f.settle(outcome, outcomeErr, yield)
}

// look yields the one request's outcome if it is stored.
func (f *follower) look(ctx context.Context, yield func(Event, error) bool) (done bool) {
	e, err := f.client.storedOutcome(ctx, f.of, f.project, f.request)
	return f.settle(e, err, yield)
}

// settle ends the following of one request with its outcome, or with an error that will
// not pass.
func (f *follower) settle(outcome Event, err error, yield func(Event, error) bool) (done bool) {
	switch {
	case err == nil:
		yield(outcome, nil)
		return true
	case final(err):
		yield(Event{}, unavailable(err))
		return true
	}
	return false
}

// live yields announcements until the end.
func (f *follower) live(ctx context.Context, yield func(Event, error) bool) {
	for {
		m, err := f.next(ctx)
		switch {
		case ctx.Err() != nil:
			yield(Event{}, context.Cause(ctx))
			return
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrBadSubscription):
			yield(Event{}, unavailable(err))
			return
		case err != nil: // nothing came for a while, or too much
			if f.single() && f.look(ctx, yield) {
				return
			}
		case f.announced(ctx, m, yield):
			return
		}
	}
}

// next waits for an announcement, no longer than until the next regular look.
func (f *follower) next(ctx context.Context) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	return f.sub.NextMsgWithContext(ctx)
}

// announced handles one announcement and reports whether to stop. It skips malformed ones: any
// client with the right to publish could have sent them.
func (f *follower) announced(ctx context.Context, m *nats.Msg, yield func(Event, error) bool) (done bool) {
	e, err := DecodeEvent(fromNATS(m.Subject, m.Header, m.Data))
	switch {
	case err != nil:
		return false
	case e.Completed != nil, e.Failed != nil, e.RestoreCompleted != nil, e.RestoreFailed != nil:
		return f.announcedOutcome(ctx, e, yield)
	case f.outcomesOnly:
		return false
	case attemptOf(e) > 0:
		return !f.yieldStarted(e, yield)
	}
	return !yield(e, nil)
}

// announcedOutcome yields the outcome that the stream holds.
func (f *follower) announcedOutcome(ctx context.Context, e Event, yield func(Event, error) bool) (done bool) {
	project, request := e.IDs()
	wait := lookRetryWait
	for range lookRetries {
		truth, err := f.client.storedOutcome(ctx, f.of, project, request)
		if err == nil {
			return !yield(truth, nil) || f.single()
		}
		if final(err) {
			yield(Event{}, unavailable(err))
			return true
		}
		select {
		case <-ctx.Done():
			return false // the loop around says so
		case <-time.After(wait):
		}
		wait *= 2
	}
	return false
}

// yieldStarted yields a Started unless the one request's is known already.
func (f *follower) yieldStarted(e Event, yield func(Event, error) bool) (goOn bool) {
	if f.single() {
		attempt := attemptOf(e)
		if attempt <= f.attempt {
			return true
		}
		f.attempt = attempt
	}
	return yield(e, nil)
}

// attemptOf returns the attempt that a Started or a RestoreStarted announces; 0: e is neither.
func attemptOf(e Event) int {
	switch {
	case e.Started != nil:
		return e.Started.Attempt
	case e.RestoreStarted != nil:
		return e.RestoreStarted.Attempt
	}
	return 0
}
