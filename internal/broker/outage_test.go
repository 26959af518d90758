package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// When heartbeats fail for longer than AckWait the message is another worker's: a nak
// would start a third delivery, an ack of a durable outcome is still right.
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
			p := newProxy(t, shared.ClientURL())
			nc := connect(t, p.url())
			s, ch := b.subscribe(b.config(stream(t, nc)))
			b.publish(1)
			msg := receive(t, ch)
			p.cut()
			_, other := b.subscribe(b.config(b.js))
			again := receive(t, other)
			if d := deliveryOf(t, again); d.Number != 2 || d.EventID != deliveryOf(t, msg).EventID {
				t.Errorf("second worker got %+v", d)
			}
			if err := msg.Context().Err(); err != nil {
				t.Error("the handler's context ended:", err)
			}
			p.mend()
			eventually(t, "the first worker is back", nc.IsConnected)
			if c.ack {
				msg.Ack()
			} else {
				msg.Nack()
			}
			must(t, s.Close())
			b.acks.total()
			// The connection's revival is a nak with AckWait as its delay.
			if n := b.acks.count("-NAK") - b.acks.count(revival); n != 0 {
				t.Errorf("sent %d naks", n)
			}
			if n := b.acks.count("+ACK"); (n == 1) != (c.want == "+ACK") {
				t.Errorf("sent %d acks", n)
			}
			again.Ack()
		})
	}
}

const revival = `-NAK {"delay": 600000000}` // ackWait

// An outage of the broker, longer than AckWait, delivers nothing twice that is still held,
// although a free slot asks for messages as soon as it can.
func TestBrokerRestartRedeliversNothingHeld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, dir, broker.RandomPort)
	port := portOf(t, srv.ClientURL())
	b := setupOn(t, srv.ClientURL())
	c := b.config(b.js)
	c.Slots = 3
	s, ch := b.subscribe(c)
	b.publish(1)
	msg := receive(t, ch)

	must(t, srv.Shutdown())
	outage := time.NewTimer(2 * ackWait) // the fault itself is a length of time
	defer outage.Stop()
	<-outage.C
	start(t, dir, port)

	b.acks.await(heartbeat, heartbeatsOf(3))
	eventually(t, "for the free slots there is a pull", func() bool { return b.info().NumWaiting == 1 })
	if err := msg.Context().Err(); err != nil {
		t.Error("the handler's context ended:", err)
	}
	msg.Ack()
	must(t, s.Close())
	if n := b.info().Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
	if n := b.stored(); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// An ack that is given while the broker is away is sent when it is back.
func TestAckOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, dir, broker.RandomPort)
	port := portOf(t, srv.ClientURL())
	b := setupOn(t, srv.ClientURL())
	s, ch := b.subscribe(b.config(b.js))
	b.publish(1)
	msg := receive(t, ch)
	must(t, srv.Shutdown())
	eventually(t, "connection is lost", func() bool { return !b.nc.IsConnected() })
	msg.Ack()
	ended(t, msg.Context().Done(), "context")
	start(t, dir, port)
	eventually(t, "connection is back", b.nc.IsConnected)
	eventually(t, "message is settled", func() bool { return b.stored() == 0 })
	must(t, s.Close())
	if n := b.info().Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
}

// A message that is on its way when the subscription ends is not lost with the pull: it
// goes back at once instead of waiting for AckWait to end.
func TestMessageUnderWayAtTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := newProxy(t, shared.ClientURL())
	s := b.subscriber(b.config(stream(t, connect(t, p.url()))))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Subscribe(ctx, "any")
	must(t, err)
	eventually(t, "the slot pulls", func() bool { return b.info().NumWaiting == 1 })
	release := p.hold()
	b.publish(1)
	eventually(t, "the broker sent it", func() bool { return b.info().NumAckPending == 1 })
	cancel()
	release()
	must(t, s.Close())
	if n := b.acks.total("-NAK"); n != 1 {
		t.Errorf("%d naks, want 1", n)
	}
}

func TestNothingIsBufferedWhileDisconnected(t *testing.T) {
	t.Parallel()
	srv := start(t, t.TempDir(), broker.RandomPort)
	nc := connect(t, srv.ClientURL())
	must(t, srv.Shutdown())
	eventually(t, "connection is lost", func() bool { return nc.Status() == nats.RECONNECTING })
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish was kept for later")
	}
}
