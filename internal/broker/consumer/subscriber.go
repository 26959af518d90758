package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// ErrClosed says that the subscriber was closed.
var ErrClosed = errors.New("closed")

var _ message.Subscriber = (*Subscriber)(nil)

// ErrDraining is the cause of the end of a message's context when the handler did not return within
// DrainTimeout after the end of its subscription.
var ErrDraining = errors.New("the worker is shutting down")

const (
	defaultDrainTimeout  = 25 * time.Second // within the 30 s that supervisors usually grant
	defaultSettleTimeout = 5 * time.Second
	firstBindTimeout     = 10 * time.Second
)

// Config describes a Subscriber.
type Config struct {
	// JetStream is the JetStream of the consumers. Its connection must reconnect without a limit
	// (Connect) and outlive the Subscriber, which does not close it. Required.
	JetStream jetstream.JetStream
	// Bind returns the consumer of a topic. The consumer must exist, because a Subscriber creates
	// none. Required.
	Bind func(topic string) (broker.Binding, error)
	// Slots bounds the running messages of one subscription. Default: 1.
	Slots int
	// Window bounds the held messages of one subscription, running or parked. Messages beyond it are
	// not seen. Default: Slots, so that every held message runs.
	Window int
	// Turn returns the key of a message. At most one message of a key runs at a time in this process,
	// and waiting messages take turns by key. A message with an empty key has no turn and runs in the
	// order of the queue. Default: all keys are empty.
	Turn func(delivery.Delivery) string
	// Backoff returns the pause before a redelivery after a Nack. Default: Exponential(15 s, 5 min,
	// nil). A Nack at shutdown requests no pause.
	Backoff Backoff
	// DrainTimeout bounds how long handlers continue after the end of their subscription, before the
	// contexts of their messages end with ErrDraining. Default: 25 s.
	DrainTimeout time.Duration
	// SettleTimeout bounds how long a handler may then take to return and settle, before its message
	// is left to the broker's AckWait. Default: 5 s.
	SettleTimeout time.Duration
	// Ready blocks until messages may be pulled, for instance while the control plane is unreachable.
	// It is called before each pull. An error other than ctx's is logged, and Ready is called again.
	// Default: always ready.
	Ready func(ctx context.Context) error
	// Turned is called at each turn of the loop that keeps messages alive, with the longest time until
	// the next call, and with 0 at its end. It is called also while the broker is unreachable or Ready
	// blocks, so a call that does not come is a fault of this process. Default: it is not called.
	Turned func(consumer string, next time.Duration)
	// Logger gets the errors that no call returns. Default: slog.Default().
	Logger *slog.Logger

	look time.Duration // bounds one look at the queue; 0: see subscription.looking
}

// Subscriber is a Watermill subscriber over durable pull consumers.
//
// It requests a message when a slot is free. Nothing is fetched ahead into a buffer, where it would
// wait towards its next delivery. From the pull to the settlement, confirmed heartbeats every third
// of AckWait keep a message alive, so a handler may take hours with an AckWait of seconds.
//
// With Turn, a free slot looks past the waiting messages of a key that had its turn, for a message
// of the next key. The messages in between are parked: held and kept alive until their turn.
// Waiting does not count as a delivery.
//
// The broker confirms an Ack, which is retried until then. A Nack requests a redelivery after
// Backoff. Settle carries out a handler's decisions (package delivery).
//
// If no heartbeat was confirmed for longer than AckWait, the message may have been delivered to
// another worker, and the broker cannot distinguish the two deliveries. A Nack then sends nothing,
// because it would start yet another delivery. An Ack is still sent, because a handler acks only
// after a durable outcome, which is valid for every holder of the message. The handler's context
// does not end: the ledger's lease decides which attempt continues, and ending it here would waste
// a dump at each short outage of the network.
//
// The end of a subscription (its context, Close, or the Router's end) stops pulling at once and
// gives back the parked messages, which uses up one delivery of each. Running handlers keep a live
// context until DrainTimeout. The Router waits for its handlers but not for their acks: call Close
// after the Router's end, and close the connection only after that.
//
// After a reconnect all held messages are revived before anything is pulled. So an outage of the
// broker, however long, redelivers no message that is still in work.
type Subscriber struct {
	cfg Config

	mu     sync.Mutex
	closed bool
	subs   map[*subscription]context.CancelFunc
}

// New returns a subscriber. The caller closes it.
func New(c Config) (*Subscriber, error) {
	if c.JetStream == nil || c.Bind == nil {
		return nil, errors.New("subscriber: JetStream and Bind are required")
	}
	if c.Slots < 0 || c.Window < 0 || c.DrainTimeout < 0 || c.SettleTimeout < 0 {
		return nil, errors.New("subscriber: Slots, Window, DrainTimeout and SettleTimeout must not be negative")
	}
	c.Slots = cmp.Or(c.Slots, 1)
	c.Window = max(cmp.Or(c.Window, c.Slots), c.Slots)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, defaultDrainTimeout)
	c.SettleTimeout = cmp.Or(c.SettleTimeout, defaultSettleTimeout)
	if c.Backoff == nil {
		c.Backoff = Exponential(defaultBackoffFirst, defaultBackoffLimit, nil)
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Turned == nil {
		c.Turned = func(string, time.Duration) {}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Subscriber{cfg: c, subs: map[*subscription]context.CancelFunc{}}, nil
}

// Subscribe pulls messages for topic until ctx ends or Close is called, and then closes the
// channel. It fails if the consumer cannot be bound. Values of ctx are visible in the contexts of
// the messages. Each message must be acked or nacked.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	binding, err := s.cfg.Bind(topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	sub := newSubscription(s.cfg, binding)
	bindCtx, cancel := context.WithTimeout(ctx, firstBindTimeout)
	defer cancel()
	if err := sub.bind(bindCtx); err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, broker.Unanswered(ctx, err))
	}
	pulling, stop := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		stop()
		return nil, fmt.Errorf("subscribe to %q: %w", topic, ErrClosed)
	}
	s.subs[sub] = stop
	go func() {
		defer close(sub.ended)
		defer stop()
		sub.run(pulling, context.WithoutCancel(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, sub)
	}()
	return sub.out, nil
}

// Close ends all subscriptions and waits until their messages are settled, at most DrainTimeout
// plus SettleTimeout. It is idempotent and always returns nil. A message that could not be settled
// is logged and is redelivered after AckWait.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	var ends []<-chan struct{}
	for sub, stop := range s.subs {
		stop()
		ends = append(ends, sub.ended)
	}
	s.mu.Unlock()
	for _, ended := range ends {
		<-ended
	}
	return nil
}
