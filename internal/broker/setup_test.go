package broker_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// shared is the broker of all tests that do not stop theirs.
var shared *brokertest.Plain

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m, &shared)) }

func setup(t testing.TB) *brokertest.Queue {
	t.Helper()
	return brokertest.NewQueue(t, shared.ClientURL())
}

// fresh connects to a new broker.
func fresh(t *testing.T) *nats.Conn {
	t.Helper()
	return connect(t, brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL())
}

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	return brokertest.Connect(t, url)
}

func stream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	return brokertest.JetStream(t, nc)
}

// subscribe takes the messages of a queue, so many at a time.
func subscribe(q *brokertest.Queue, slots int) <-chan *message.Message {
	q.T.Helper()
	s, err := consumer.New(consumer.Config{
		JetStream: q.JS, Slots: slots, Logger: brokertest.Quiet(),
		Bind:    func(string) (broker.Binding, error) { return q.Bind, nil },
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	})
	must(q.T, err)
	q.T.Cleanup(func() { _ = s.Close() })
	ch, err := s.Subscribe(context.Background(), "any")
	must(q.T, err)
	return ch
}

func deliveryOf(t testing.TB, msg *message.Message) delivery.Delivery {
	t.Helper()
	d := delivery.Of(msg.Context())
	if d.EventID == "" {
		t.Fatal("message without a delivery")
	}
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	brokertest.Must(t, err)
}
