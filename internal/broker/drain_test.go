package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/broker"
)

func TestDrainLetsWorkFinish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(1)
	c := b.config(b.js)
	c.Slots = 2
	c.DrainTimeout = patience
	s := b.subscriber(c)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
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
	eventually(t, "the free slot pulls", func() bool { return b.info().NumWaiting == 1 })
	closed := make(chan struct{})
	go func() { defer close(closed); _ = router.Close() }()
	eventually(t, "no pull waits", func() bool { return b.info().NumWaiting == 0 })
	b.publish(1)
	b.acks.await(heartbeat, heartbeatsOf(2))
	if err := msg.Context().Err(); err != nil {
		t.Error("the message's context ended with the subscription:", err)
	}
	close(release)
	ended(t, closed, "router")
	must(t, receive(t, ran))
	must(t, s.Close()) // the router waits for handlers, not for their acks
	if n, left := b.info().Delivered.Consumer, b.stored(); n != 1 || left != 1 {
		t.Errorf("%d deliveries and %d messages left, want 1 and 1", n, left)
	}
}

func TestDrainDeadlineEndsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(1)
	c := b.config(b.js)
	c.Backoff = func(int) time.Duration { return time.Hour }
	c.DrainTimeout = time.Millisecond
	c.SettleTimeout = patience
	s, ch := b.subscribe(c)
	msg := receive(t, ch)
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	ended(t, msg.Context().Done(), "context")
	if cause := context.Cause(msg.Context()); !errors.Is(cause, broker.ErrDraining) {
		t.Errorf("cause is %v", cause)
	}
	msg.Nack()
	ended(t, closed, "subscriber")
	if n := b.acks.total("-NAK"); n != 1 || b.acks.bodies("-NAK")[0] != "-NAK" {
		t.Errorf("sent %q, want one nak without a delay", b.acks.bodies("-NAK"))
	}
	if _, err := s.Subscribe(context.Background(), "any"); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("subscribe after close: %v", err)
	}
}

func TestHandlerThatNeverReturnsIsGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(1)
	c := b.config(b.js)
	c.DrainTimeout, c.SettleTimeout = time.Millisecond, time.Millisecond
	s, ch := b.subscribe(c)
	receive(t, ch)
	must(t, s.Close())
	if n := b.acks.total("-NAK", "+ACK"); n != 0 {
		t.Errorf("%d acks or naks sent", n)
	}
}
