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

// ErrDraining is the cause with which a message's context ends when its handler did not
// return within DrainTimeout of the end of its subscription.
var ErrDraining = errors.New("the worker is shutting down")

const (
	defaultDrainTimeout  = 25 * time.Second // within the 30 s that supervisors usually grant
	defaultSettleTimeout = 5 * time.Second
	firstBindTimeout     = 10 * time.Second
)

// Config describes a Subscriber.
type Config struct {
	// JetStream is where the consumers live. Its connection must reconnect for ever
	// (Connect) and outlive the Subscriber, which does not close it. Required.
	JetStream jetstream.JetStream
	// Bind gives the consumer behind a topic. The consumer must exist: workers only bind.
	// Required.
	Bind func(topic string) (broker.Binding, error)
	// Slots is how many messages of one subscription run at once. Default: 1.
	Slots int
	// Window is how many messages of one subscription are held at once, running or waiting for
	// their turn. Messages behind that many are not seen. Default: Slots, so that nothing is held
	// that does not run.
	Window int
	// Turn gives the key of a message. At most one message of a key runs at a time in this process,
	// and waiting messages take turns by key. Empty, and by default: each message is on its own, in
	// the order of the queue.
	Turn func(delivery.Delivery) string
	// Backoff gives the pause before a redelivery after a Nack. Default:
	// Exponential(15 s, 5 min, nil). A Nack at shutdown asks for no pause.
	Backoff Backoff
	// DrainTimeout is how long handlers may go on after the end of their subscription,
	// before their messages' contexts end with ErrDraining. Default: 25 s.
	DrainTimeout time.Duration
	// SettleTimeout is what a handler then has left to return and settle, before its
	// message is given up and left to the broker's AckWait. Default: 5 s.
	SettleTimeout time.Duration
	// Ready blocks until messages may be pulled, for instance while the control plane is
	// unreachable; it is called before each pull. An error other than ctx's is logged and
	// asked again. Default: always ready.
	Ready func(ctx context.Context) error
	// Logger is told of errors that no call returns. Default: slog.Default().
	Logger *slog.Logger
}

// Subscriber is a Watermill subscriber over durable pull consumers.
//
// A message is asked for when a slot is free; nothing is fetched ahead into a buffer, where
// it would age towards its next delivery. From the pull to its settlement a message is kept
// alive by confirmed heartbeats every third of AckWait, so a handler may take hours under an
// AckWait of seconds.
//
// With Turn, a free slot looks past the waiting messages of a key that had its turn, for a message
// of the next key. The messages passed over are parked: held and kept alive until their turn.
// Waiting does not count as a delivery.
//
// Ack is confirmed by the broker and tried again until it is. Nack asks for a redelivery
// after Backoff. A handler's decisions (package delivery) are carried out by Settle.
//
// When no heartbeat was confirmed for longer than AckWait, the message may have been
// delivered to another worker, and the broker cannot tell the two deliveries apart. From
// then on a Nack sends nothing, since it would start yet another delivery. An Ack is still
// sent: a handler acks only what has a durable outcome, which is true for every holder of the
// message. The handler's context does not end: the ledger's lease decides which attempt goes on,
// and ending it here would waste a dump at each short cut of the network.
//
// The end of a subscription (its context, Close, or the Router's end) stops pulling at
// once and gives back what is parked, which costs it a delivery. Running handlers keep a
// live context until DrainTimeout. The Router waits for its
// handlers but not for their acks: call Close after the Router's end, and close the
// connection only then.
//
// After a reconnect everything held is revived before anything is pulled, so an outage of
// the broker, however long, redelivers nothing that is still being worked on.
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
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Subscriber{cfg: c, subs: map[*subscription]context.CancelFunc{}}, nil
}

// Subscribe pulls messages for topic until ctx ends or Close is called; then the channel
// is closed. It fails when the consumer cannot be bound. Values of ctx are visible in the
// messages' contexts. Each message must be acked or nacked.
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

// Close ends all subscriptions and waits until their messages are settled, at most
// DrainTimeout and SettleTimeout together. It is idempotent and always returns nil: what
// could not be settled is logged, and comes back after AckWait.
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
