package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// bound is a consumer that was looked up on the broker.
type bound struct {
	broker.Binding
	identity   string // of the stream
	ackWait    time.Duration
	maxDeliver int // 0: no limit
	made       time.Time
}

// refresh binds again and revives all held messages if the connection was lost since the last
// refresh or the broker answered unexpectedly. Nothing is pulled until it has succeeded.
func (s *subscription) refresh(ctx context.Context) error {
	select {
	case s.refreshing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.refreshing }()
	reconnects := s.nc.Stats().Reconnects
	if !s.stale.Load() && reconnects == s.seen.Load() {
		return nil
	}
	s.stale.Store(false)
	if err := s.bind(ctx); err != nil {
		s.stale.Store(true)
		return err
	}
	s.revive(ctx)
	// If the connection was lost in between, the counts differ at the next check.
	s.seen.Store(reconnects)
	return nil
}

// identify looks up the identity of the stream.
func (s *subscription) identify(ctx context.Context) error {
	stream, err := s.cfg.JetStream.Stream(ctx, s.binding.Stream)
	if err != nil {
		return fmt.Errorf("identify stream %s: %w", s.binding.Stream, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound.identity = broker.StreamIdentity(stream.CachedInfo())
	return nil
}

// bind looks up the stream and the consumer.
func (s *subscription) bind(ctx context.Context) error {
	js := s.cfg.JetStream
	if err := s.identify(ctx); err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, s.binding.Stream, s.binding.Consumer)
	if err != nil {
		return fmt.Errorf("bind consumer %s of %s: %w", s.binding.Consumer, s.binding.Stream, err)
	}
	c := consumer.CachedInfo().Config
	if c.AckPolicy != jetstream.AckExplicitPolicy || c.AckWait <= 0 {
		return fmt.Errorf("bind consumer %s of %s: it must acknowledge explicitly, with an ack wait", s.binding.Consumer, s.binding.Stream)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound.Binding, s.bound.ackWait, s.bound.maxDeliver = s.binding, c.AckWait, max(c.MaxDeliver, 0)
	if made := consumer.CachedInfo().Created; !made.Equal(s.bound.made) {
		s.bound.made = made
		// The new consumer redelivers the messages that the removed consumer delivered.
		for h := range s.turns.parked {
			if !h.made.Equal(made) {
				s.turns.unpark(h)
			}
		}
	}
	return nil
}
