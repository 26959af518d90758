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

// QueuedMessage is a message in a work queue.
type QueuedMessage struct {
	// Delivery holds the values that all deliveries of the message share. Number is 0.
	delivery.Delivery
	Header nats.Header // every value of every header
	Body   []byte
}

// Depth is the fill level of a work queue.
type Depth struct {
	Waiting       uint64    // not delivered yet
	Held          int       // delivered and not settled, delayed naks included
	OldestWaiting time.Time // publication of the first of Waiting; zero if none waits
	Oldest        time.Time // publication of the first message; zero if empty
}

// Queue reads a work-queue stream with one consumer. It is safe for concurrent use. Besides the
// subscriber's rights it needs $JS.API.STREAM.MSG.GET of that stream and of the stream of
// advisories and, for Delete, $JS.API.STREAM.MSG.DELETE of that stream.
type Queue struct {
	js       jetstream.JetStream
	binding  Binding
	advisory advisories
}

// NewQueue returns a view of the stream and the consumer. advisories names the stream with the
// broker's MAX_DELIVERIES advisories; empty: none.
func NewQueue(js jetstream.JetStream, b Binding, advisories string) *Queue {
	q := &Queue{js: js, binding: b}
	q.advisory.name = advisories
	return q
}

// Dead returns at most limit messages that will not be delivered again. In a work queue a settled
// message is removed. So a message that still exists has used up its deliveries in three cases: it
// is at or below the consumer's ack floor; it was delivered and no message is held any more; or an
// advisory of the broker names it. The second case is needed because a death does not raise the
// floor, only a later ack does, with no other message held. The third is needed while some message
// is always held.
//
// The caller checks the list against the ledger, because it may contain a message with an ack on
// its way. The broker notices used-up deliveries only when a worker requests a message: with all
// slots busy, or without a worker, no message becomes dead.
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
	// The first read starts at the stream's first message, so gaps before it cost nothing.
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

// Exists reports whether the stream with that identity still holds the message. A stream that was
// made again holds no message of the earlier one.
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

// Oldest returns the time of publication of the stream's oldest message. Zero: there is no message,
// or no stream.
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

// Delete removes a message. A missing message or stream is not an error.
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
	// The broker has one code for all refusals, so a read finds out whether the message still exists.
	if m, readErr := q.read(ctx, s, sequence); m == nil && readErr == nil {
		return nil
	}
	return fmt.Errorf("delete message %d of queue %s: %w", sequence, q.binding.Stream, err)
}

// Depth returns the fill level of the queue.
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
	if m != nil { // nil: a worker took it in between
		d.OldestWaiting = m.Published
	}
	return d, err
}

// Count returns the number of messages with a subject, waiting and held ones.
func (q *Queue) Count(ctx context.Context, subject string) (uint64, error) {
	s, err := q.js.Stream(ctx, q.binding.Stream)
	if err == nil {
		var info *jetstream.StreamInfo
		if info, err = s.Info(ctx, jetstream.WithSubjectFilter(subject)); err == nil {
			return info.State.Subjects[subject], nil
		}
	}
	return 0, fmt.Errorf("count the messages of queue %s: %w", q.binding.Stream, err)
}

// look reads the consumer before the stream. A message that is settled in between is then missing
// from the stream and is not mistaken for a dead one.
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
