package broker_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute

// shared is the broker of all tests that do not stop theirs.
var shared *plainServer

func TestMain(m *testing.M) { os.Exit(mainTest(m)) }

func mainTest(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.fuzzworker").Value.String() == "true" {
		return m.Run() // it is killed in the end, and needs no broker
	}
	dir, err := os.MkdirTemp("", "broker-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared, err = startPlain(dir, broker.RandomPort)
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := shared.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "shutdown:", err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
		code = 1
	}
	return code
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := broker.Connect(broker.Config{URLs: []string{url}, Logger: quiet()})
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func stream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a work queue with one consumer on a broker, and an observer of what its
// workers tell the broker.
type bench struct {
	t    testing.TB
	nc   *nats.Conn
	js   jetstream.JetStream
	bind broker.Binding
	acks *observer
}

const (
	ackWait    = 600 * time.Millisecond
	maxDeliver = 3
)

func setup(t testing.TB) *bench { return setupOn(t, shared.ClientURL()) }

func setupOn(t testing.TB, url string) *bench {
	t.Helper()
	b := &bench{t: t, nc: connect(t, url)}
	b.js = stream(t, b.nc)
	b.bind = broker.Binding{Stream: "Q" + nuid.Next(), Consumer: "worker"}
	b.create()
	b.acks = observe(t, b.nc, "$JS.ACK."+b.bind.Stream+".>")
	return b
}

func (b *bench) create() {
	b.t.Helper()
	_, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{
		Name: b.bind.Stream, Subjects: []string{b.bind.Stream + ".*"}, Retention: jetstream.WorkQueuePolicy,
	})
	must(b.t, err)
	_, err = b.js.CreateConsumer(b.t.Context(), b.bind.Stream, jetstream.ConsumerConfig{
		Durable: b.bind.Consumer, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: maxDeliver, MaxAckPending: 1000,
	})
	must(b.t, err)
}

func (b *bench) subject() string { return b.bind.Stream + ".acme" }

func (b *bench) publish(n int) {
	b.t.Helper()
	for i := range n {
		_, err := b.js.Publish(b.t.Context(), b.subject(), fmt.Append(nil, i))
		must(b.t, err)
	}
}

// config is a subscriber's, for one slot over js.
func (b *bench) config(js jetstream.JetStream) broker.SubscriberConfig {
	return broker.SubscriberConfig{
		JetStream: js, Logger: quiet(),
		Bind:    func(string) (broker.Binding, error) { return b.bind, nil },
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	}
}

func (b *bench) subscriber(c broker.SubscriberConfig) *broker.Subscriber {
	b.t.Helper()
	s, err := broker.NewSubscriber(c)
	must(b.t, err)
	b.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *bench) subscribe(c broker.SubscriberConfig) (*broker.Subscriber, <-chan *message.Message) {
	b.t.Helper()
	s := b.subscriber(c)
	ch, err := s.Subscribe(context.Background(), "any")
	must(b.t, err)
	return s, ch
}

func (b *bench) info() *jetstream.ConsumerInfo {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), b.bind.Stream, b.bind.Consumer)
	must(b.t, err)
	return c.CachedInfo()
}

func (b *bench) stored() uint64 {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), b.bind.Stream)
	must(b.t, err)
	return s.CachedInfo().State.Msgs
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("channel closed")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

func ended(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("did not end:", what)
	}
}

// eventually polls the broker for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatal("never came true:", what)
		case <-poll.C:
		}
	}
}

func deliveryOf(t testing.TB, msg *message.Message) broker.Delivery {
	t.Helper()
	d, ok := broker.DeliveryOf(msg)
	if !ok {
		t.Fatal("message without a delivery")
	}
	return d
}

func portOf(t testing.TB, raw string) int {
	t.Helper()
	u, err := url.Parse(raw)
	must(t, err)
	port, err := strconv.Atoi(u.Port())
	must(t, err)
	return port
}
