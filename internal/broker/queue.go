package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// anySubject matches every message; with it a read by sequence skips the gaps.
const anySubject = ">"

// QueuedMessage is a message as it lies in a work queue.
type QueuedMessage struct {
	Subject   string
	Header    nats.Header // every value of every header
	Body      []byte
	EventID   string // the same as its deliveries had
	Stream    string // the stream's identity, see Delivery.Stream
	Sequence  uint64
	Published time.Time // by the broker's clock
}

// Depth says how full a work queue is.
type Depth struct {
	Waiting       uint64    // never delivered yet
	Held          int       // delivered, neither acked nor given up; delayed naks included
	OldestWaiting time.Time // when the first of Waiting was published; zero if none waits
	Oldest        time.Time // when the first message of all was published; zero if empty
}

// Queue looks into a work-queue stream with one consumer. It is safe for concurrent use.
// Besides the subscriber's rights it needs $JS.API.STREAM.MSG.GET and, for Delete,
// $JS.API.STREAM.MSG.DELETE of that stream.
type Queue struct {
	js      jetstream.JetStream
	binding Binding
}

// NewQueue returns a view of the stream and consumer.
func NewQueue(js jetstream.JetStream, b Binding) *Queue { return &Queue{js, b} }

// Dead returns messages that will never be delivered again, oldest first, at most limit.
// In a work queue a settled message is removed, so one that is still there at or below the
// consumer's ack floor has used up its deliveries.
//
// Two limits of that rule. A message that is being acked at this moment may be listed. And
// the floor rises only past the oldest message that is still held, so a dead message
// behind a long export is listed when that export ends.
func (q *Queue) Dead(ctx context.Context, limit int) ([]QueuedMessage, error) {
	stream, info, err := q.look(ctx)
	if err != nil {
		return nil, err
	}
	var dead []QueuedMessage
	// The first read is at the stream's first message: gaps before it cost nothing.
	for next := stream.CachedInfo().State.FirstSeq; next <= info.AckFloor.Stream && len(dead) < limit; {
		m, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(anySubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return dead, fmt.Errorf("read queue %s from %d: %w", q.binding.Stream, next, err)
		}
		if m.Sequence > info.AckFloor.Stream {
			break
		}
		identity := streamIdentity(stream.CachedInfo())
		dead = append(dead, QueuedMessage{
			Subject: m.Subject, Header: m.Header, Body: m.Data,
			EventID: eventID(identity, m.Sequence), Stream: identity,
			Sequence: m.Sequence, Published: m.Time,
		})
		next = m.Sequence + 1
	}
	return dead, nil
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
	if streamIdentity(s.CachedInfo()) != stream {
		return false, nil
	}
	_, err = s.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read message %d of queue %s: %w", sequence, q.binding.Stream, err)
	}
	return true, nil
}

// Delete removes a message for good. One that is gone, or whose stream is, is no error.
func (q *Queue) Delete(ctx context.Context, stream string, sequence uint64) error {
	s, err := q.js.Stream(ctx, q.binding.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up queue %s: %w", q.binding.Stream, err)
	}
	if streamIdentity(s.CachedInfo()) != stream {
		return nil
	}
	if err := s.DeleteMsg(ctx, sequence); err != nil && !q.missing(ctx, s, sequence) {
		return fmt.Errorf("delete message %d of queue %s: %w", sequence, q.binding.Stream, err)
	}
	return nil
}

// missing asks instead of reading the refusal: the broker has one code for all of them.
func (q *Queue) missing(ctx context.Context, s jetstream.Stream, sequence uint64) bool {
	_, err := s.GetMsg(ctx, sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
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
	m, err := stream.GetMsg(ctx, info.Delivered.Stream+1, jetstream.WithGetMsgSubject(anySubject))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // taken meanwhile
	case err != nil:
		return Depth{}, fmt.Errorf("read queue %s: %w", q.binding.Stream, err)
	default:
		d.OldestWaiting = m.Time
	}
	return d, nil
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
