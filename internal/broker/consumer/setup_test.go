package consumer_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

const (
	ackWait    = brokertest.AckWait
	maxDeliver = brokertest.MaxDeliver
)

// shared is the broker of all tests that do not stop theirs.
var shared *brokertest.Plain

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m, &shared)) }

// bench is a work queue and its subscribers.
type bench struct {
	*brokertest.Queue
	patient bool // looks at the queue have no limit
}

func setup(t testing.TB) bench { return setupOn(t, shared.ClientURL()) }

// patient is a queue on which nothing expires. Its broker must not stop.
func patient(t testing.TB) bench {
	t.Helper()
	b := setup(t)
	b.SetAckWait(brokertest.LongAckWait)
	b.patient = true
	return b
}

func setupOn(t testing.TB, url string) bench {
	t.Helper()
	return bench{Queue: brokertest.NewQueue(t, url)}
}

// config is a subscriber's, for one slot.
func (b bench) config() consumer.Config {
	return consumer.Config{
		JetStream: b.JS, Logger: brokertest.Quiet(),
		Bind:    func(string) (broker.Binding, error) { return b.Bind, nil },
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	}
}

// over is config over another connection.
func (b bench) over(js jetstream.JetStream) consumer.Config {
	c := b.config()
	c.JetStream = js
	return c
}

// byProject is a configuration with the last token of the subject as the key of turns.
func (b bench) byProject(slots, window int) consumer.Config {
	c := b.config()
	c.Slots, c.Window = slots, window
	c.Turn = func(d delivery.Delivery) string { return d.Subject }
	if b.patient {
		c = consumer.Patient(c)
	}
	return c
}

func (b bench) subscriber(c consumer.Config) *consumer.Subscriber {
	b.T.Helper()
	s, err := consumer.New(c)
	must(b.T, err)
	b.T.Cleanup(func() { _ = s.Close() })
	return s
}

func (b bench) subscribe(c consumer.Config) (*consumer.Subscriber, <-chan *message.Message) {
	b.T.Helper()
	s := b.subscriber(c)
	ch, err := s.Subscribe(context.Background(), "any")
	must(b.T, err)
	return s, ch
}

func must(t testing.TB, err error) {
	t.Helper()
	brokertest.Must(t, err)
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	return brokertest.Receive(t, ch)
}

func deliveryOf(t testing.TB, msg *message.Message) delivery.Delivery {
	t.Helper()
	d := delivery.Of(msg.Context())
	if d.EventID == "" {
		t.Fatal("message without a delivery")
	}
	return d
}

// decide settles a message as the router does after its handler returned err.
func decide(msg *message.Message, err error) {
	_, err = consumer.Settle(func(*message.Message) ([]*message.Message, error) { return nil, err })(msg)
	if err != nil {
		msg.Nack()
	} else {
		msg.Ack()
	}
}
