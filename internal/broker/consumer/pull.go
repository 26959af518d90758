package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxPull is how long one pull request waits at the broker.
	maxPull = 10 * time.Second
	// pullGrace is how much later than that its answer may come.
	pullGrace = time.Second
	// salvageTimeout bounds the wait for a message that was under way when the pull was
	// called off.
	salvageTimeout = 2 * time.Second
)

// pull asks for up to batch messages. With expires the request waits that long for the
// first; with 0 it returns what waits now. None without an error: there was none, or ctx
// ended. Messages may come beside an error.
//
// It speaks the pull protocol itself. In the library's Fetch, calling off a pull loses a
// message that is already under way, and with it one of its three deliveries; here the
// subscription is drained and such a message is returned.
//
// A request waits for half an AckWait at most. So when a link dies without a word, the
// broker has forgotten the requests on it before anything that is held on the same link
// can expire: a dead worker's requests never swallow its own redeliveries.
func (s *subscription) pull(ctx context.Context, b bound, batch int, expires time.Duration) ([]*nats.Msg, error) {
	request, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires,omitempty"`
		NoWait  bool          `json:"no_wait,omitempty"`
	}{batch, expires, expires == 0})
	if err != nil {
		return nil, err
	}
	inbox := s.nc.NewInbox()
	a, err := s.subscribe(inbox, batch)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", b.Stream, err)
	}
	defer func() { _ = a.sub.Unsubscribe() }() // fails only when it is over already
	subject := apiPrefix(s.cfg.JetStream) + "CONSUMER.MSG.NEXT." + b.Stream + "." + b.Consumer
	if err := s.nc.PublishRequest(subject, inbox, request); err != nil {
		return nil, fmt.Errorf("pull from %s: %w", b.Stream, err)
	}
	pulled, err := a.collect(ctx, batch)
	if len(pulled) < batch && ctx.Err() != nil {
		return append(pulled, s.salvage(a, batch-len(pulled))...), nil
	}
	return pulled, err
}

// answers are what comes to the inbox of one pull. Not the library's synchronous
// subscription: it takes a message with an empty body and the header "Status: 503" for the
// absence of a broker, and drops it. Any publisher can write such a message.
type answers struct {
	sub   *nats.Subscription
	in    chan *nats.Msg
	ended chan struct{} // nothing more comes into in
}

// statuses is more than the broker sends beside the messages of one pull.
const statuses = 16

func (s *subscription) subscribe(inbox string, batch int) (a answers, err error) {
	a.in, a.ended = make(chan *nats.Msg, batch+statuses), make(chan struct{})
	if a.sub, err = s.nc.ChanSubscribe(inbox, a.in); err != nil {
		return a, err
	}
	var once sync.Once // a drain that was overtaken by Unsubscribe ends it again
	a.sub.SetClosedHandler(func(string) { once.Do(func() { close(a.ended) }) })
	return a, nil
}

// next is the next answer.
func (a answers) next(ctx context.Context) (*nats.Msg, error) {
	select {
	case m := <-a.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-a.ended:
		select {
		case m := <-a.in:
			return m, nil
		default:
			return nil, nats.ErrBadSubscription
		}
	}
}

// collect returns messages up to the last, and the reason why there are no more, if it is
// not an ordinary one.
func (a answers) collect(ctx context.Context, batch int) (pulled []*nats.Msg, err error) {
	for len(pulled) < batch {
		m, err := a.next(ctx)
		if err != nil {
			return pulled, fmt.Errorf("pull: %w", err)
		}
		switch status := m.Header.Get("Status"); {
		// Only a message of the stream has a reply subject, for its acknowledgement. The
		// header and an empty body prove nothing: a publisher can write both.
		case status == "" || m.Reply != "":
			pulled = append(pulled, m)
		case status == "100": // an idle heartbeat
		case status == "404" || status == "408": // none, or none in time
			return pulled, nil
		case status == "503":
			return pulled, fmt.Errorf("pull: %w", nats.ErrNoResponders)
		default:
			return pulled, &pullError{status, m.Header.Get("Description")}
		}
	}
	return pulled, nil
}

// salvage calls off a pull and returns the messages that were under way, if any.
func (s *subscription) salvage(a answers, batch int) []*nats.Msg {
	if !s.nc.IsConnected() || a.sub.Drain() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), salvageTimeout)
	defer cancel()
	// When the drain is through, the wait ends with an error.
	pulled, _ := a.collect(ctx, batch)
	return pulled
}

// pullError is a refusal of the broker: the consumer was deleted, its leader changed, too
// many messages are pending, the server is shutting down.
type pullError struct{ status, description string }

func (e *pullError) Error() string {
	return "pull refused: " + e.status + " " + e.description
}

// apiPrefix is where the JetStream API of js listens, with a dot at its end.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		return o.APIPrefix + "."
	}
	return jetstream.DefaultAPIPrefix
}
