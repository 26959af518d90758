package broker_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func TestDeadMessages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := broker.NewQueue(b.JS, b.Bind, "")
	m := &nats.Msg{Subject: b.Subject(), Header: nats.Header{"ce-id": {"a", "b"}}, Data: []byte("dead")}
	_, err := b.JS.PublishMsg(t.Context(), m)
	must(t, err)
	b.Publish(2)

	ch := subscribe(b, 3)
	var id string
	settled := 0
	for settled < 2+brokertest.MaxDeliver {
		msg := brokertest.Receive(t, ch)
		if string(msg.Payload) != "dead" {
			msg.Ack()
		} else {
			id = deliveryOf(t, msg).EventID
			msg.Nack()
		}
		settled++
	}
	// The broker gives up a message when its last delivery expired and a worker pulls.
	var dead []broker.QueuedMessage
	brokertest.Eventually(t, "the message is dead", func() bool {
		dead, err = q.Dead(t.Context(), 10)
		must(t, err)
		return len(dead) > 0
	})
	d := dead[0]
	if len(dead) != 1 || string(d.Body) != "dead" || d.Subject != b.Subject() || d.EventID != id ||
		d.Sequence != 1 || len(d.Header["ce-id"]) != 2 || d.Published.IsZero() {
		t.Errorf("dead messages %+v, want the one with event id %s", dead, id)
	}

	for name, c := range map[string]struct {
		stream   string
		sequence uint64
		want     bool
	}{
		"the dead one":             {d.Stream, d.Sequence, true},
		"an acked one":             {d.Stream, 2, false},
		"one to come":              {d.Stream, 99, false},
		"the same of another life": {b.Bind.Stream + "@2001-01-01T00:00:00Z", d.Sequence, false},
	} {
		if got, err := q.Exists(t.Context(), c.stream, c.sequence); err != nil || got != c.want {
			t.Errorf("%s exists: %t, %v; want %t", name, got, err, c.want)
		}
	}
	must(t, q.Delete(t.Context(), "another@life", d.Sequence))
	if b.Stored() != 1 {
		t.Error("deleted a message of another stream's identity")
	}
	must(t, q.Delete(t.Context(), d.Stream, d.Sequence))
	must(t, q.Delete(t.Context(), d.Stream, d.Sequence))
	if dead, err := q.Dead(t.Context(), 10); err != nil || len(dead) != 0 {
		t.Errorf("after delete: %v, %v", dead, err)
	}
	must(t, b.JS.DeleteStream(t.Context(), b.Bind.Stream))
	must(t, q.Delete(t.Context(), d.Stream, d.Sequence))
	if ok, err := q.Exists(t.Context(), d.Stream, d.Sequence); ok || err != nil {
		t.Errorf("exists without a stream: %t, %v", ok, err)
	}
}

func TestDeadStopsAtLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Publish(3)
	ch := subscribe(b, 3)
	for range 3 * brokertest.MaxDeliver {
		brokertest.Receive(t, ch).Nack()
	}
	q := broker.NewQueue(b.JS, b.Bind, "")
	brokertest.Eventually(t, "all are dead", func() bool {
		dead, err := q.Dead(t.Context(), 10)
		must(t, err)
		return len(dead) == 3
	})
	dead, err := q.Dead(t.Context(), 2)
	must(t, err)
	if len(dead) != 2 || dead[0].Sequence != 1 || dead[1].Sequence != 2 {
		t.Errorf("got %+v", dead)
	}
}

// The ack floor does not rise while a message is held: the advisories are the source.
func TestDeadBehindAHeldMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	name := "A" + b.Bind.Stream
	_, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + b.Bind.Stream + ".*"},
	})
	must(t, err)
	b.Publish(2)
	ch := subscribe(b, 2)
	deliveries := map[uint64]int{}
	var holding *message.Message
	for deliveries[2] < brokertest.MaxDeliver {
		msg := brokertest.Receive(t, ch)
		d := deliveryOf(t, msg)
		deliveries[d.Sequence]++
		if d.Sequence == 1 {
			holding = msg
		} else {
			msg.Nack()
		}
	}
	q := broker.NewQueue(b.JS, b.Bind, name)
	var dead []broker.QueuedMessage
	brokertest.Eventually(t, "the second message is dead", func() bool {
		dead, err = q.Dead(t.Context(), 10)
		must(t, err)
		return len(dead) > 0
	})
	if len(dead) != 1 || dead[0].Sequence != 2 {
		t.Errorf("dead messages %+v, want the second", dead)
	}
	if again, err := q.Dead(t.Context(), 10); err != nil || len(again) != 1 {
		t.Errorf("at the second look: %+v, %v", again, err)
	}
	must(t, q.Delete(t.Context(), dead[0].Stream, 2))
	if after, err := q.Dead(t.Context(), 10); err != nil || len(after) != 0 {
		t.Errorf("after delete: %+v, %v", after, err)
	}
	holding.Ack()
}

func TestDepth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := broker.NewQueue(b.JS, b.Bind, "")
	depth, err := q.Depth(t.Context())
	must(t, err)
	oldest, err := q.Oldest(t.Context())
	must(t, err)
	if depth != (broker.Depth{}) || !oldest.IsZero() {
		t.Errorf("empty queue: %+v, its oldest message of %s", depth, oldest)
	}
	b.Publish(3)
	b.SetAckWait(brokertest.LongAckWait)
	ch := subscribe(b, 1)
	msg := brokertest.Receive(t, ch)
	depth, err = q.Depth(t.Context())
	must(t, err)
	first := deliveryOf(t, msg).Published
	if depth.Waiting != 2 || depth.Held != 1 || !depth.Oldest.Equal(first) || !depth.OldestWaiting.After(first) {
		t.Errorf("got %+v", depth)
	}
	if oldest, err = q.Oldest(t.Context()); err != nil || !oldest.Equal(first) {
		t.Errorf("the oldest message is of %s, want %s (%v)", oldest, first, err)
	}
	msg.Ack()
	gone := broker.NewQueue(b.JS, broker.Binding{Stream: "NONE", Consumer: "none"}, "")
	if oldest, err = gone.Oldest(t.Context()); err != nil || !oldest.IsZero() {
		t.Errorf("no stream: %s, %v", oldest, err)
	}
}
