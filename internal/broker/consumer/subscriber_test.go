package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func TestLongHandlerIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		b.Publish(1)
		s, ch := b.subscribe(b.config())
		msg := receive(t, ch)
		b.Acks.Await(brokertest.Heartbeat, brokertest.HeartbeatsOf(4))
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

func TestWaitingMessagesDoNotAge(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		b.Publish(4)
		_, ch := b.subscribe(b.config())
		first := receive(t, ch)
		b.Acks.Await(brokertest.Heartbeat, brokertest.HeartbeatsOf(4))
		if n := b.Info().Delivered.Consumer; n != 1 {
			t.Errorf("%d messages pulled for one slot", n)
		}
		first.Ack()
		for range 3 {
			msg := receive(t, ch)
			if d := deliveryOf(t, msg); d.Number != 1 {
				t.Errorf("message %d came as delivery %d", d.Sequence, d.Number)
			}
			msg.Ack()
		}
	})
}

func TestNakDelaysGrow(t *testing.T) {
	t.Parallel()
	b := patient(t)
	c := b.config()
	var mu sync.Mutex
	var asked []int
	c.Backoff = func(n int) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, n)
		return time.Duration(n) * time.Millisecond
	}
	b.Publish(1)
	s, ch := b.subscribe(c)
	var ids []string
	for n := 1; n <= maxDeliver; n++ {
		msg := receive(t, ch)
		d := deliveryOf(t, msg)
		if d.Number != n || d.Last != (n == maxDeliver) {
			t.Errorf("delivery %d, last %t; want %d of %d", d.Number, d.Last, n, maxDeliver)
		}
		if msg.UUID != d.EventID {
			t.Errorf("UUID %q, want the event id %q", msg.UUID, d.EventID)
		}
		ids = append(ids, d.EventID)
		msg.Nack()
	}
	must(t, s.Close())
	if b.Acks.Total("-NAK") == 0 || !slices.Equal(asked, []int{1, 2, 3}) {
		t.Errorf("backoff was asked for deliveries %v", asked)
	}
	want := []string{`-NAK {"delay": 1000000}`, `-NAK {"delay": 2000000}`, `-NAK {"delay": 3000000}`}
	if got := b.Acks.Bodies("-NAK"); !slices.Equal(got, want) {
		t.Errorf("sent %q", got)
	}
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("event id changed between deliveries: %q", ids)
	}
}

func TestADroppedMessageIsNotSettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Publish(1)
	_, ch := b.subscribe(b.config())
	msg := receive(t, ch)
	decide(msg, fmt.Errorf("superseded: %w", delivery.ErrDrop))
	again := receive(t, ch) // by AckWait alone
	if n := b.Acks.Total("+ACK", "-NAK"); n != 0 {
		t.Errorf("%d acks or naks sent", n)
	}
	if d := deliveryOf(t, again); d.Number != 2 {
		t.Errorf("delivery %d, want 2", d.Number)
	}
	again.Ack()
}

func TestUnreadMessageGoesBackAtOnce(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Publish(1)
	ctx, cancel := context.WithCancel(t.Context())
	s := b.subscriber(b.config())
	unread, err := s.Subscribe(ctx, "any")
	must(t, err)
	brokertest.Eventually(t, "message is held", func() bool { return b.Info().NumAckPending == 1 })
	cancel()
	brokertest.Eventually(t, "the message is given back", func() bool { return b.Acks.Count("-NAK") == 1 })
	_, other := b.subscribe(b.config())
	msg := receive(t, other)
	if d := deliveryOf(t, msg); d.Number != 2 {
		t.Errorf("delivery %d, want 2", d.Number)
	}
	msg.Ack()
	if m, open := <-unread; open {
		t.Errorf("message %s was handed out after the end", m.UUID)
	}
}

func TestNothingIsPulledUntilReady(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Publish(1)
	c := b.config()
	asked, ready := make(chan struct{}, 100), make(chan struct{})
	c.Ready = func(ctx context.Context) error {
		asked <- struct{}{}
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, ch := b.subscribe(c)
	receive(t, asked)
	if i := b.Info(); i.NumWaiting != 0 || i.Delivered.Consumer != 0 {
		t.Errorf("pulled before ready: %d waiting, %d delivered", i.NumWaiting, i.Delivered.Consumer)
	}
	close(ready)
	receive(t, ch).Ack()
}

func TestRepeatedHeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header nats.Header
		want   string
	}{
		"once":                     {nats.Header{"ce-id": {"a"}, "X": {"1"}}, ""},
		"twice":                    {nats.Header{"ce-id": {"a", "b"}}, "ce-id"},
		"twice, letter case aside": {nats.Header{"CE-ID": {"b"}, "ce-id": {"a"}}, "ce-id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := patient(t)
			_, err := b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: b.Subject(), Header: c.header, Data: []byte("x")})
			must(t, err)
			_, ch := b.subscribe(b.config())
			msg := receive(t, ch)
			if d := deliveryOf(t, msg); d.RepeatedHeader != c.want {
				t.Errorf("repeated header %q, want %q", d.RepeatedHeader, c.want)
			}
			if got := msg.Metadata.Get("ce-id"); got != "a" {
				t.Errorf("metadata holds %q, want the first value", got)
			}
			msg.Ack()
		})
	}
}

// A publisher can write a message that looks like the broker's answer to a pull.
func TestAMessageThatLooksLikeAStatusIsDelivered(t *testing.T) {
	t.Parallel()
	b := patient(t)
	for _, status := range []string{"100", "404", "408", "409", "503"} {
		_, err := b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: b.Subject(), Header: nats.Header{"Status": {status}}})
		must(t, err)
	}
	_, ch := b.subscribe(b.config())
	for _, status := range []string{"100", "404", "408", "409", "503"} {
		msg := receive(t, ch)
		if d := deliveryOf(t, msg); msg.Metadata.Get("Status") != status || d.Number != 1 {
			t.Errorf("delivery %d of %q, want the first of %s", d.Number, msg.Metadata.Get("Status"), status)
		}
		msg.Ack()
	}
}

func TestDeliveryDescribesTheMessage(t *testing.T) {
	t.Parallel()
	b := patient(t)
	for _, uuid := range []string{"a-plain_ID", "not an id", ""} {
		m := nats.NewMsg(b.Subject())
		m.Header.Set(broker.UUIDHeader, uuid)
		ack, err := b.JS.PublishMsg(t.Context(), m)
		must(t, err)
		s, ch := b.subscribe(b.config())
		msg := receive(t, ch)
		d := deliveryOf(t, msg)
		if d.Subject != b.Subject() || d.Sequence != ack.Sequence || d.Published.IsZero() || d.Number != 1 {
			t.Errorf("delivery %+v", d)
		}
		want := d.EventID
		if uuid == "a-plain_ID" {
			want = uuid
		}
		if msg.UUID != want {
			t.Errorf("UUID %q, want %q", msg.UUID, want)
		}
		msg.Ack()
		must(t, s.Close())
	}
}

func TestSubscribeNeedsTheConsumer(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Bind.Consumer = "nobody"
	_, err := b.subscriber(b.config()).Subscribe(t.Context(), "any")
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("got %v", err)
	}
}

// A stream that was deleted and made again counts from 1 again. A message held of the old stream
// must settle nothing in the new one.
func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Publish(1)
	c := b.config()
	c.Slots = 2
	s, ch := b.subscribe(c)
	old := receive(t, ch)
	must(t, b.JS.DeleteStream(t.Context(), b.Bind.Stream))
	b.Create()
	b.Publish(1)
	fresh := receive(t, ch)
	was, is := deliveryOf(t, old), deliveryOf(t, fresh)
	if was.Sequence != is.Sequence || was.Stream == is.Stream || was.EventID == is.EventID {
		t.Errorf("old %+v, new %+v", was, is)
	}
	old.Ack()
	brokertest.Ended(t, old.Context().Done(), "the old message's context")
	decide(fresh, delivery.ErrDrop)
	must(t, s.Close())
	if n := b.Acks.Total("+ACK"); n != 0 || b.Stored() != 1 {
		t.Errorf("%d acks sent, %d messages left; want 0 and 1", n, b.Stored())
	}
}

// The new consumer does not answer the acknowledgement of a message of a removed consumer. The
// subscriber gives up at once, and the message is redelivered.
func TestAConsumerThatIsMadeAnewDeliversAgain(t *testing.T) {
	t.Parallel()
	q := patient(t)
	_, ch := q.subscribe(q.config())
	q.Publish(1)
	first := receive(t, ch)
	c, err := q.JS.Consumer(t.Context(), q.Bind.Stream, q.Bind.Consumer)
	must(t, err)
	must(t, q.JS.DeleteConsumer(t.Context(), q.Bind.Stream, q.Bind.Consumer))
	_, err = q.JS.CreateConsumer(t.Context(), q.Bind.Stream, c.CachedInfo().Config)
	must(t, err)
	first.Ack()
	again := receive(t, ch)
	if n := q.Acks.Count("+ACK"); n != 1 {
		t.Errorf("%d acks were sent before it came", n)
	}
	again.Ack()
}
