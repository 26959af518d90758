package consumer_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// When heartbeats fail for longer than AckWait, another worker may have the message. A nak would
// start a third delivery; an ack of a durable outcome is still right.
func TestLostDelivery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ack  bool
		want string
	}{
		"nack sends nothing": {false, ""},
		"ack is sent":        {true, "+ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := brokertest.NewProxy(t, shared.ClientURL())
			nc := brokertest.Connect(t, p.URL())
			s, ch := b.subscribe(b.over(brokertest.JetStream(t, nc)))
			b.Publish(1)
			msg := receive(t, ch)
			p.Cut()
			_, other := b.subscribe(b.config())
			again := receive(t, other)
			if d := deliveryOf(t, again); d.Number != 2 || d.EventID != deliveryOf(t, msg).EventID {
				t.Errorf("second worker got %+v", d)
			}
			if err := msg.Context().Err(); err != nil {
				t.Error("the handler's context ended:", err)
			}
			p.Restore()
			brokertest.Eventually(t, "the first worker is back", nc.IsConnected)
			if c.ack {
				msg.Ack()
			} else {
				msg.Nack()
			}
			must(t, s.Close())
			b.Acks.Total()
			// A revived connection naks with AckWait as the delay.
			if n := b.Acks.Count("-NAK") - b.Acks.Count(revival); n != 0 {
				t.Errorf("sent %d naks", n)
			}
			if n := b.Acks.Count("+ACK"); (n == 1) != (c.want == "+ACK") {
				t.Errorf("sent %d acks", n)
			}
			again.Ack()
		})
	}
}

const revival = `-NAK {"delay": 600000000}` // ackWait

// An outage of the broker that is longer than AckWait redelivers no message that is still held,
// although a free slot pulls as soon as it can.
func TestBrokerRestartRedeliversNothingHeld(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		dir := t.TempDir()
		srv := brokertest.Start(t, dir, brokertest.RandomPort)
		port := brokertest.PortOf(t, srv.ClientURL())
		b := setupOn(t, srv.ClientURL())
		b.SetAckWait(ackWait)
		c := b.config()
		c.Slots = 3
		s, ch := b.subscribe(c)
		b.Publish(1)
		msg := receive(t, ch)

		srv.Shutdown()
		outage := time.NewTimer(2 * ackWait) // the fault itself is a length of time
		defer outage.Stop()
		<-outage.C
		brokertest.Start(t, dir, port)

		b.Acks.Await(brokertest.Heartbeat, brokertest.HeartbeatsOf(3))
		brokertest.Eventually(t, "for the free slots there is a pull", func() bool { return b.Info().NumWaiting == 1 })
		if err := msg.Context().Err(); err != nil {
			t.Error("the handler's context ended:", err)
		}
		msg.Ack()
		must(t, s.Close())
		if n := b.Info().Delivered.Consumer; n != 1 {
			t.Errorf("%d deliveries, want 1", n)
		}
		if n := b.Stored(); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
}

// An ack during an outage of the broker is sent after the outage.
func TestAckOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := brokertest.Start(t, dir, brokertest.RandomPort)
	port := brokertest.PortOf(t, srv.ClientURL())
	b := setupOn(t, srv.ClientURL())
	b.SetAckWait(brokertest.LongAckWait)
	s, ch := b.subscribe(b.config())
	b.Publish(1)
	msg := receive(t, ch)
	srv.Shutdown()
	brokertest.Eventually(t, "connection is lost", func() bool { return !b.NC.IsConnected() })
	msg.Ack()
	brokertest.Ended(t, msg.Context().Done(), "context")
	brokertest.Start(t, dir, port)
	brokertest.Eventually(t, "connection is back", b.NC.IsConnected)
	brokertest.Eventually(t, "message is settled", func() bool { return b.Stored() == 0 })
	must(t, s.Close())
	if n := b.Info().Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
}

// A message in transit when the subscription ends is not lost with the pull: it is nakked at once
// instead of after AckWait.
func TestAMessageInTransitWhenTheSubscriptionEnds(t *testing.T) {
	t.Parallel()
	b := patient(t)
	p := brokertest.NewProxy(t, shared.ClientURL())
	s := b.subscriber(b.over(brokertest.JetStream(t, brokertest.Connect(t, p.URL()))))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Subscribe(ctx, "any")
	must(t, err)
	brokertest.Eventually(t, "the slot pulls", func() bool { return b.Info().NumWaiting == 1 })
	release := p.Hold()
	b.Publish(1)
	brokertest.Eventually(t, "the broker sent it", func() bool { return b.Info().NumAckPending == 1 })
	cancel()
	release()
	must(t, s.Close())
	brokertest.Eventually(t, "the message is given back", func() bool { return b.Acks.Count("-NAK") == 1 })
}

func TestNothingIsBufferedWhileDisconnected(t *testing.T) {
	t.Parallel()
	srv := brokertest.Start(t, t.TempDir(), brokertest.RandomPort)
	nc := brokertest.Connect(t, srv.ClientURL())
	srv.Shutdown()
	brokertest.Eventually(t, "connection is lost", func() bool { return nc.Status() == nats.RECONNECTING })
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish was kept for later")
	}
}
