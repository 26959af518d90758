package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// anySubject matches every message; with it a read by sequence skips the gaps.
const anySubject = ">"

// QueuedMessage is a message as it lies in a work queue.
type QueuedMessage struct {
	// Delivery has what is the same for all deliveries of the message: Number is 0.
	delivery.Delivery
	Header nats.Header // every value of every header
	Body   []byte
}

// Depth says how full a work queue is.
type Depth struct {
	Waiting       uint64    // never delivered yet
	Held          int       // delivered, neither acked nor given up; delayed naks included
	OldestWaiting time.Time // when the first of Waiting was published; zero if none waits
	Oldest        time.Time // when the first message of all was published; zero if empty
}

// Queue looks into a work-queue stream with one consumer. It is safe for concurrent use.
// Besides the subscriber's rights it needs $JS.API.STREAM.MSG.GET of that stream and of the
// advisories' and, for Delete, $JS.API.STREAM.MSG.DELETE of that stream.
type Queue struct {
	js       jetstream.JetStream
	binding  Binding
	advisory advisories
}

// NewQueue returns a view of the stream and consumer. advisories names the stream that
// keeps the broker's MAX_DELIVERIES advisories about it; "" does without.
func NewQueue(js jetstream.JetStream, b Binding, advisories string) *Queue {
	q := &Queue{js: js, binding: b}
	q.advisory.name = advisories
	return q
}

// Dead returns messages that will not be delivered again, at most limit. In a work queue a
// settled message is removed. So one that is still there has used up its deliveries if it
// is at or below the consumer's ack floor, if it was delivered and nothing is held any
// more, or if the broker said so in an advisory. The second is needed because a death does
// not raise the floor; only a later ack does, with nothing else held. The third is needed
// while something always is.
//
// The caller checks the list against the ledger: it may hold a message that is being acked at this
// moment. The broker notices that deliveries are used up only when a worker asks for a message:
// with all slots busy, or no worker, no message becomes dead.
func (q *Queue) Dead(ctx context.Context, limit int) ([]QueuedMessage, error) {
	stream, info, err := q.look(ctx)
	if err != nil {
		return nil, err
	}
	bound := info.AckFloor.Stream
	if info.NumAckPending == 0 {
		bound = info.Delivered.Stream
	}
	var dead []QueuedMessage
	// The first read is at the stream's first message: gaps before it cost nothing.
	for next := stream.CachedInfo().State.FirstSeq; next <= bound && len(dead) < limit; {
		m, err := q.read(ctx, stream, next, jetstream.WithGetMsgSubject(anySubject))
		if err != nil {
			return dead, err
		}
		if m == nil || m.Sequence > bound {
			break
		}
		dead = append(dead, *m)
		next = m.Sequence + 1
	}
	advised, err := q.advisory.above(ctx, q.js, stream.CachedInfo(), q.binding.Consumer, bound)
	if err != nil {
		return dead, err
	}
	for _, sequence := range advised {
		if len(dead) == limit {
			break
		}
		m, err := q.read(ctx, stream, sequence)
		if err != nil {
			return dead, err
		}
		if m != nil {
			dead = append(dead, *m)
		} else {
			q.advisory.forget(sequence)
		}
	}
	return dead, nil
}

// read returns a message, or nil if there is none.
func (q *Queue) read(ctx context.Context, s jetstream.Stream, sequence uint64, opts ...jetstream.GetMsgOpt) (*QueuedMessage, error) {
	m, err := s.GetMsg(ctx, sequence, opts...)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // no message is an ordinary answer
	}
	if err != nil {
		return nil, fmt.Errorf("read queue %s at %d: %w", q.binding.Stream, sequence, err)
	}
	identity := StreamIdentity(s.CachedInfo())
	return &QueuedMessage{
		Delivery: delivery.Delivery{
			EventID: EventID(identity, m.Sequence), Stream: identity, Sequence: m.Sequence, Subject: m.Subject, Published: m.Time,
		},
		Header: m.Header, Body: m.Data,
	}, nil
}

// Exists reports whether the stream of that identity still holds the message. A stream
// that was made anew holds none of the former's messages.
func (q *Queue) Exists(ctx context.Context, stream string, sequence uint64) (bool, error) {
	s, err := q.js.Stream(ctx, q.binding.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up queue %s: %w", q.binding.Stream, err)
	}
	if StreamIdentity(s.CachedInfo()) != stream {
		return false, nil
	}
	m, err := q.read(ctx, s, sequence)
	return m != nil, err
}

// Oldest returns when the oldest message of the stream was published; zero: there is none, or
// no stream.
func (q *Queue) Oldest(ctx context.Context) (time.Time, error) {
	s, err := q.js.Stream(ctx, q.binding.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look up queue %s: %w", q.binding.Stream, err)
	}
	if state := s.CachedInfo().State; state.Msgs > 0 {
		return state.FirstTime, nil
	}
	return time.Time{}, nil
}

// Delete removes a message for good. A message or a stream that is gone is no error.
func (q *Queue) Delete(ctx context.Context, stream string, sequence uint64) error {
	s, err := q.js.Stream(ctx, q.binding.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up queue %s: %w", q.binding.Stream, err)
	}
	if StreamIdentity(s.CachedInfo()) != stream {
		return nil
	}
	err = s.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	// The broker has one code for all its refusals: ask whether there is anything left.
	if m, readErr := q.read(ctx, s, sequence); m == nil && readErr == nil {
		return nil
	}
	return fmt.Errorf("delete message %d of queue %s: %w", sequence, q.binding.Stream, err)
}

// Depth returns the counts of the queue.
func (q *Queue) Depth(ctx context.Context) (Depth, error) {
	stream, info, err := q.look(ctx)
	if err != nil {
		return Depth{}, err
	}
	d := Depth{Waiting: info.NumPending, Held: info.NumAckPending}
	state := stream.CachedInfo().State
	if state.Msgs > 0 {
		d.Oldest = state.FirstTime
	}
	if d.Waiting == 0 {
		return d, nil
	}
	m, err := q.read(ctx, stream, info.Delivered.Stream+1, jetstream.WithGetMsgSubject(anySubject))
	if m != nil { // else it was taken meanwhile
		d.OldestWaiting = m.Published
	}
	return d, err
}

// look reads the consumer before the stream, so that a message that is settled in between
// is missing from the stream rather than seen as dead.
func (q *Queue) look(ctx context.Context) (jetstream.Stream, *jetstream.ConsumerInfo, error) {
	consumer, err := q.js.Consumer(ctx, q.binding.Stream, q.binding.Consumer)
	if err != nil {
		return nil, nil, fmt.Errorf("look up consumer %s of %s: %w", q.binding.Consumer, q.binding.Stream, err)
	}
	stream, err := q.js.Stream(ctx, q.binding.Stream)
	if err != nil {
		return nil, nil, fmt.Errorf("look up queue %s: %w", q.binding.Stream, err)
	}
	return stream, consumer.CachedInfo(), nil
}
