package consumer

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// A pull that was decided on before a reconnect is not sent after it: the broker would answer with messages
// that are still held here, and count a delivery for each.
func TestNothingIsPulledBetweenAReconnectAndTheRevival(t *testing.T) {
	t.Parallel()
	srv := brokertest.Start(t, t.TempDir(), brokertest.RandomPort)
	q := brokertest.NewQueue(t, srv.ClientURL())
	q.Flood("a")
	s := newSubscription(Config{JetStream: q.JS, Logger: brokertest.Quiet()}, q.Bind)
	if err := s.bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _ := s.state()
	s.seen.Store(q.JS.Conn().Stats().Reconnects + 1)
	if pulled, err := s.pull(t.Context(), b, 1, time.Second); len(pulled) != 0 || !errors.Is(err, errNotBound) {
		t.Errorf("pulled %d messages, %v", len(pulled), err)
	}
	if n := deliveries(t, q.JS, b); n != 0 {
		t.Errorf("%d deliveries", n)
	}
	s.seen.Store(q.JS.Conn().Stats().Reconnects)
	if pulled, err := s.pull(t.Context(), b, 1, time.Second); len(pulled) != 1 || err != nil {
		t.Errorf("pulled %d messages, %v", len(pulled), err)
	}
	q.JS.Conn().Close()
	if _, err := s.pull(t.Context(), b, 1, time.Second); err == nil {
		t.Error("pulled over a closed connection")
	}
}

// deliveries returns the number of deliveries by the consumer.
func deliveries(t *testing.T, js jetstream.JetStream, b bound) uint64 {
	t.Helper()
	c, err := js.Consumer(t.Context(), b.Stream, b.Consumer)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo().Delivered.Consumer
}
