package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// AckWait and MaxDeliver are the settings of a Queue's consumer. LongAckWait is the AckWait of tests
// in which nothing may expire, however busy the machine is.
const (
	AckWait     = 600 * time.Millisecond
	LongAckWait = Timeout
	MaxDeliver  = 3
)

// Queue is a work queue with one consumer on a broker, and an observer of its acknowledgements.
type Queue struct {
	T    testing.TB
	NC   *nats.Conn
	JS   jetstream.JetStream
	Bind broker.Binding
	Acks *Observer
}

// NewQueue makes a queue on the broker at url.
func NewQueue(t testing.TB, url string) *Queue {
	t.Helper()
	q := &Queue{T: t, NC: Connect(t, url)}
	q.JS = JetStream(t, q.NC)
	q.Bind = broker.Binding{Stream: "Q" + nuid.Next(), Consumer: "worker"}
	q.Create()
	q.Acks = Observe(t, q.NC, "$JS.ACK."+q.Bind.Stream+".>")
	return q
}

// Create creates the stream and its consumer.
func (q *Queue) Create() {
	q.T.Helper()
	_, err := q.JS.CreateStream(q.T.Context(), jetstream.StreamConfig{
		Name: q.Bind.Stream, Subjects: []string{q.Bind.Stream + ".*"}, Retention: jetstream.WorkQueuePolicy,
	})
	Must(q.T, err)
	_, err = q.JS.CreateConsumer(q.T.Context(), q.Bind.Stream, jetstream.ConsumerConfig{
		Durable: q.Bind.Consumer, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: AckWait, MaxDeliver: MaxDeliver, MaxAckPending: 1000,
	})
	Must(q.T, err)
}

// Subject returns one of the queue's subjects.
func (q *Queue) Subject() string { return q.Bind.Stream + ".acme" }

// Publish publishes n messages under Subject.
func (q *Queue) Publish(n int) {
	q.T.Helper()
	for i := range n {
		_, err := q.JS.Publish(q.T.Context(), q.Subject(), fmt.Append(nil, i))
		Must(q.T, err)
	}
}

// Flood publishes one message for each of the projects, in that order.
func (q *Queue) Flood(projects ...string) {
	q.T.Helper()
	var acks []jetstream.PubAckFuture
	for _, p := range projects {
		ack, err := q.JS.PublishAsync(q.Bind.Stream+"."+p, []byte(p))
		Must(q.T, err)
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			q.T.Fatal(err)
		case <-time.After(Timeout):
			q.T.Fatal("a publish was not confirmed")
		}
	}
}

// AllowPending raises the consumer's limit of pending messages, as in the export queue.
func (q *Queue) AllowPending(n int) {
	q.T.Helper()
	q.update(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = n })
}

// SetAckWait sets the consumer's AckWait. A subscriber learns it when it binds.
func (q *Queue) SetAckWait(d time.Duration) {
	q.T.Helper()
	q.update(func(c *jetstream.ConsumerConfig) { c.AckWait = d })
}

func (q *Queue) update(do func(*jetstream.ConsumerConfig)) {
	q.T.Helper()
	c := q.Info().Config
	do(&c)
	_, err := q.JS.UpdateConsumer(q.T.Context(), q.Bind.Stream, c)
	Must(q.T, err)
}

// Info returns the broker's information about the consumer.
func (q *Queue) Info() *jetstream.ConsumerInfo {
	q.T.Helper()
	c, err := q.JS.Consumer(q.T.Context(), q.Bind.Stream, q.Bind.Consumer)
	Must(q.T, err)
	return c.CachedInfo()
}

// Stored returns how many messages the stream holds.
func (q *Queue) Stored() uint64 {
	q.T.Helper()
	s, err := q.JS.Stream(q.T.Context(), q.Bind.Stream)
	Must(q.T, err)
	return s.CachedInfo().State.Msgs
}
