package broker_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// What is asked of the broker for a notifier, and that it is idempotent with filters.
func TestANotifiersStreams(t *testing.T) {
	t.Parallel()
	nc := fresh(t)
	js := stream(t, nc)
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	if _, err := js.Stream(t.Context(), events.StreamNotifications); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a notifier there is its queue: %v", err)
	}
	wanted := broker.Topology{Notifications: []string{"email", "webhook"}}
	must(t, broker.Provision(t.Context(), js, wanted))
	writes := brokertest.Observe(t, nc, "$JS.API.*.CREATE.>")
	must(t, broker.Provision(t.Context(), js, wanted))
	if n := writes.Total(""); n != 0 {
		t.Errorf("%d writes at the second run", n)
	}
	outcomes, err := js.Consumer(t.Context(), events.StreamOutcomes, events.ConsumerNotifier)
	must(t, err)
	if c := outcomes.CachedInfo().Config; c.DeliverPolicy != jetstream.DeliverNewPolicy || c.MaxDeliver != -1 {
		t.Errorf("the notifier's consumer is %+v", c)
	}
	// A key lies in the queue once only, and each channel has a consumer of its own.
	p := broker.NewPublisher(js)
	subject := broker.NotificationSubject("email", "k1")
	must(t, p.Publish(subject, message.NewMessage("1", []byte("a"))))
	if err := p.Publish(subject, message.NewMessage("2", []byte("b"))); !errors.Is(err, broker.ErrQueueFull) {
		t.Errorf("a second message under one key: %v", err)
	}
	must(t, p.Publish(broker.NotificationSubject("webhook", "k2"), message.NewMessage("3", []byte("c"))))
	for channel, body := range map[string]string{"email": "a", "webhook": "c"} {
		c, err := js.Consumer(t.Context(), events.StreamNotifications, broker.NotificationConsumer(channel))
		must(t, err)
		m, err := c.Next()
		must(t, err)
		if string(m.Data()) != body {
			t.Errorf("over %s came %q", channel, m.Data())
		}
		must(t, m.DoubleAck(t.Context()))
	}
	must(t, p.Publish(subject, message.NewMessage("4", []byte("d"))))
}

func TestStatesAreWrittenUnderTheirRevision(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	s := broker.NewStates(js, events.StreamNotificationStates)
	key := broker.NotificationStateSubject
	nothing := func(string, []byte) error { return errors.New("nothing is there") }
	if _, _, err := s.Get(t.Context(), key("a")); !errors.Is(err, broker.ErrNoState) {
		t.Errorf("without a stream: %v", err)
	}
	must(t, s.All(t.Context(), nothing))
	must(t, broker.Provision(t.Context(), js, broker.Topology{Notifications: []string{"email"}}))
	if _, _, err := s.Get(t.Context(), key("a")); !errors.Is(err, broker.ErrNoState) {
		t.Errorf("in an empty stream: %v", err)
	}
	must(t, s.All(t.Context(), nothing))
	for _, k := range []string{"a", "b", "c"} {
		must(t, s.Set(t.Context(), key(k), []byte(k+"1"), 0))
		if err := s.Set(t.Context(), key(k), []byte("x"), 0); !errors.Is(err, broker.ErrStateChanged) {
			t.Errorf("made twice: %v", err)
		}
	}
	body, revision, err := s.Get(t.Context(), key("a"))
	if err != nil || string(body) != "a1" {
		t.Errorf("read %q, %v", body, err)
	}
	must(t, s.Set(t.Context(), key("a"), []byte("a2"), revision))
	if err := s.Set(t.Context(), key("a"), []byte("a3"), revision); !errors.Is(err, broker.ErrStateChanged) {
		t.Errorf("written under an old revision: %v", err)
	}
	var all []string
	must(t, s.All(t.Context(), func(subject string, body []byte) error {
		all = append(all, subject+"="+string(body))
		return nil
	}))
	if want := []string{key("b") + "=b1", key("c") + "=c1", key("a") + "=a2"}; !slices.Equal(all, want) {
		t.Errorf("all are %q, want %q", all, want)
	}
	stop := errors.New("enough")
	if err := s.All(t.Context(), func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("called off: %v", err)
	}
}
