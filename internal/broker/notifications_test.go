package broker_test

import (
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// The rights that a notifier needs at the broker, and that the setup is idempotent with filters.
func TestANotifiersStreams(t *testing.T) {
	t.Parallel()
	nc := fresh(t)
	js := stream(t, nc)
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	if _, err := js.Stream(t.Context(), events.StreamNotifications); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the notifier's queue exists without a notifier: %v", err)
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
	// A key is in the queue once only, and each channel has its own consumer.
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
			t.Errorf("received over %s: %q", channel, m.Data())
		}
		must(t, m.DoubleAck(t.Context()))
	}
	must(t, p.Publish(subject, message.NewMessage("4", []byte("d"))))
}
