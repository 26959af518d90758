package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

var (
	// ErrNoState says that no state is stored under that key, or that the broker has no states.
	ErrNoState = errors.New("no such state")
	// ErrStateChanged says that another process wrote in between.
	ErrStateChanged = errors.New("the state was changed meanwhile")
	// ErrStatesMove says that the states are being moved to their bucket: see Provision.
	ErrStatesMove = errors.New("the notification states are being moved to their bucket, and the move has not finished: run `pgcourier broker setup`")
)

// States stores the newest state of each notification with a revision: in a key-value bucket, or in
// the stream of earlier builds until that is moved. It is safe for concurrent use.
type States struct {
	js jetstream.JetStream

	mu sync.Mutex
	kv jetstream.KeyValue // set once the bucket was found, because it does not move again
}

// NewStates returns the notification states of a broker.
func NewStates(js jetstream.JetStream) *States { return &States{js: js} }

// open returns the bucket, or the stream of earlier builds. Both are nil if neither exists.
// ErrStatesMove.
func (s *States) open(ctx context.Context) (jetstream.KeyValue, jetstream.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kv != nil {
		return s.kv, nil, nil
	}
	stream, err := s.js.Stream(ctx, events.StreamNotificationStates)
	switch {
	case err == nil && isMoving(stream):
		return nil, nil, ErrStatesMove
	case err == nil:
		s.kv, err = s.js.KeyValue(ctx, events.BucketNotificationStates)
		return s.kv, nil, err
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil, err
	}
	old, err := s.js.Stream(ctx, oldStates)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil, nil
	case err == nil && old.CachedInfo().Config.Sealed:
		return nil, nil, ErrStatesMove
	}
	return nil, old, err
}

// Get returns the state under key and its revision. ErrNoState, ErrStatesMove.
func (s *States) Get(ctx context.Context, key string) (body []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	kv, old, err := s.open(ctx)
	switch {
	case err != nil:
	case kv != nil:
		var e jetstream.KeyValueEntry
		if e, err = kv.Get(ctx, key); err == nil {
			return e.Value(), e.Revision(), nil
		}
	case old != nil:
		var m *jetstream.RawStreamMsg
		if m, err = old.GetLastMsgForSubject(ctx, oldStateSubject(key)); err == nil {
			return m.Data, m.Sequence, nil
		}
	default:
		err = ErrNoState
	}
	for _, missing := range []error{jetstream.ErrKeyNotFound, jetstream.ErrMsgNotFound, jetstream.ErrStreamNotFound} {
		if errors.Is(err, missing) {
			err = ErrNoState
		}
	}
	return nil, 0, fmt.Errorf("read the state of notification %s: %w", key, err)
}

// Set stores body under key if the stored state has this revision; 0: there is none. Otherwise it
// returns ErrStateChanged, which after an earlier timeout may mean the caller's own write.
// ErrStatesMove.
func (s *States) Set(ctx context.Context, key string, body []byte, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	kv, old, err := s.open(ctx)
	switch {
	case err != nil:
	case kv != nil && revision == 0:
		_, err = kv.Create(ctx, key, body)
	case kv != nil:
		_, err = kv.Update(ctx, key, body, revision)
	case old != nil:
		_, err = s.js.PublishMsg(ctx, &nats.Msg{Subject: oldStateSubject(key), Data: body}, jetstream.WithExpectLastSequencePerSubject(revision))
	default:
		err = jetstream.ErrStreamNotFound
	}
	if wrongSequence(err) || errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		err = ErrStateChanged
	}
	if err != nil {
		return fmt.Errorf("write the state of notification %s: %w", key, err)
	}
	return nil
}

// All calls use with each state, the longest unchanged first, until use returns an error. Without
// states it calls nothing. It needs the right to create a consumer. ErrStatesMove.
func (s *States) All(ctx context.Context, use func(key string, body []byte) error) error {
	kv, old, err := s.open(ctx)
	if err == nil && kv != nil {
		// Not kv.WatchAll: its consumer pushes, and the operator's account imports no subject to push to.
		old, err = s.js.Stream(ctx, events.StreamNotificationStates)
	}
	if err != nil {
		return fmt.Errorf("list the notification states: %w", err)
	}
	if old == nil {
		return nil
	}
	return eachState(ctx, old, use)
}

// stored returns the stream with the states; nil: there is none.
func (s *States) stored(ctx context.Context) (jetstream.Stream, error) {
	kv, stream, err := s.open(ctx)
	if err == nil && kv != nil {
		stream, err = s.js.Stream(ctx, events.StreamNotificationStates)
	}
	if err != nil {
		return nil, fmt.Errorf("read the notification states: %w", err)
	}
	return stream, nil
}

// Span returns the positions between which the stored states were written: from first on, before next.
// Without states both are 1. ErrStatesMove.
func (s *States) Span(ctx context.Context) (first, next uint64, err error) {
	stream, err := s.stored(ctx)
	if err != nil || stream == nil {
		return 1, 1, err
	}
	state := stream.CachedInfo().State
	return max(state.FirstSeq, 1), state.LastSeq + 1, nil
}

// Between calls use with each state that was written at or after the position from and before the position
// to, the longest unchanged first, and returns the position after the last one. It needs no consumer, and
// makes one request for each state. ErrStatesMove.
func (s *States) Between(ctx context.Context, from, to uint64, use func(key string, body []byte) error) (next uint64, err error) {
	stream, err := s.stored(ctx)
	if err != nil || stream == nil {
		return from, err
	}
	for from = max(from, 1); from < to; {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(anySubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence >= to {
			return from, nil
		}
		if err != nil {
			return from, fmt.Errorf("read the notification states: %w", err)
		}
		from = m.Sequence + 1
		if len(m.Data) > 0 { // a key that was deleted by hand leaves an empty marker
			if err := use(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Data); err != nil {
				return from, err
			}
		}
	}
	return from, nil
}

// eachState calls use with the messages of a stream of states, the oldest first.
func eachState(ctx context.Context, stream jetstream.Stream, use func(key string, body []byte) error) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy,
		// Nothing deletes it after the list. By default nats-server permits 1000 consumers of a stream.
		InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("list the notification states: %w", err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("list the notification states: %w", err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("list the notification states: %w", err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("list the notification states: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("list the notification states: %w", err)
		}
		// A key that was deleted by hand leaves an empty marker.
		if len(m.Data()) > 0 {
			if err := use(m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:], m.Data()); err != nil {
				return err
			}
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}
