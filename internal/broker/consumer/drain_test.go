package consumer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// ending tells when no more messages are handed out.
type ending struct {
	*consumer.Subscriber
	ended chan struct{}
}

func (e *ending) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	from, err := e.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	to := make(chan *message.Message)
	go func() {
		defer close(to)
		defer close(e.ended)
		for msg := range from {
			to <- msg
		}
	}()
	return to, nil
}

func TestDrainLetsWorkFinish(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		b.Publish(1)
		c := b.config()
		c.Slots = 2
		c.DrainTimeout = brokertest.Timeout
		s := &ending{Subscriber: b.subscriber(c), ended: make(chan struct{})}
		router, err := message.NewRouter(message.RouterConfig{CloseTimeout: brokertest.Timeout}, watermill.NopLogger{})
		must(t, err)
		started, release := make(chan *message.Message, 2), make(chan struct{})
		router.AddConsumerHandler("work", "any", s, func(msg *message.Message) error {
			started <- msg
			<-release
			return context.Cause(msg.Context())
		})
		ran := make(chan error, 1)
		go func() { ran <- router.Run(context.Background()) }()
		msg := receive(t, started)
		brokertest.Eventually(t, "the free slot pulls", func() bool { return b.Info().NumWaiting == 1 })
		closed := make(chan struct{})
		go func() { defer close(closed); _ = router.Close() }()
		brokertest.Ended(t, s.ended, "pulling") // between two pulls none waits either
		b.Publish(1)
		b.Acks.Await(brokertest.Heartbeat, brokertest.HeartbeatsOf(2))
		if err := msg.Context().Err(); err != nil {
			t.Error("the message's context ended with the subscription:", err)
		}
		close(release)
		brokertest.Ended(t, closed, "router")
		must(t, receive(t, ran))
		must(t, s.Close()) // the router waits for handlers, not for their acks
		if n, left := b.Info().Delivered.Consumer, b.Stored(); n != 1 || left != 1 {
			t.Errorf("%d deliveries and %d messages left, want 1 and 1", n, left)
		}
	})
}

func TestDrainDeadlineEndsContext(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Publish(1)
	c := b.config()
	c.Backoff = func(int) time.Duration { return time.Hour }
	c.DrainTimeout = time.Millisecond
	c.SettleTimeout = brokertest.Timeout
	s, ch := b.subscribe(c)
	msg := receive(t, ch)
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	brokertest.Ended(t, msg.Context().Done(), "context")
	if cause := context.Cause(msg.Context()); !errors.Is(cause, consumer.ErrDraining) {
		t.Errorf("cause is %v", cause)
	}
	msg.Nack()
	brokertest.Ended(t, closed, "subscriber")
	brokertest.Eventually(t, "the message is given back", func() bool { return b.Acks.Count("-NAK") > 0 })
	if n := b.Acks.Total("-NAK"); n != 1 || b.Acks.Bodies("-NAK")[0] != "-NAK" {
		t.Errorf("sent %q, want one nak without a delay", b.Acks.Bodies("-NAK"))
	}
	if _, err := s.Subscribe(context.Background(), "any"); !errors.Is(err, consumer.ErrClosed) {
		t.Errorf("subscribe after close: %v", err)
	}
}

func TestHandlerThatNeverReturnsIsGivenUp(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Publish(1)
	c := b.config()
	c.DrainTimeout, c.SettleTimeout = time.Millisecond, time.Millisecond
	s, ch := b.subscribe(c)
	receive(t, ch)
	must(t, s.Close())
	if n := b.Acks.Total("-NAK", "+ACK"); n != 0 {
		t.Errorf("%d acks or naks sent", n)
	}
}
