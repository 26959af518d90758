package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxPull bounds how long one pull request waits at the broker.
	maxPull = 10 * time.Second
	// pullGrace is the extra time for the answer to arrive.
	pullGrace = time.Second
	// salvageTimeout bounds the wait for a message that was in transit when the pull was cancelled.
	salvageTimeout = 2 * time.Second
)

// pull requests up to batch messages. With expires the request waits that long for the first
// message. With 0 it returns the messages that wait now. An empty result without an error means
// that there was none or that ctx ended. Messages may be returned together with an error.
//
// pull implements the pull protocol itself. Cancelling a pull of the library's Fetch loses a
// message in transit, and with it one of its three deliveries. pull drains the subscription and
// returns such a message.
//
// A request waits for half an AckWait at most. If a connection dies silently, the broker then drops
// the requests on it before any message held on that connection can expire. So the requests of a
// dead worker never receive the worker's own redeliveries.
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
	defer func() { _ = a.sub.Unsubscribe() }() // fails only if it has already ended
	// After a reconnect the held messages must be revived first: the broker would answer with them. The
	// count of reconnects grows before the connection is usable, so it is read after the state.
	if connected := s.nc.IsConnected(); !connected || s.nc.Stats().Reconnects != s.seen.Load() {
		return nil, fmt.Errorf("pull from %s: %w", b.Stream, errNotBound)
	}
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

// errNotBound says that the connection was lost since the consumer was bound.
var errNotBound = errors.New("the connection was lost")

// answers receives the messages to the inbox of one pull. It does not use the library's synchronous
// subscription, which treats a message with an empty body and the header "Status: 503" as a missing
// broker and drops it. Any publisher can write such a message.
type answers struct {
	sub   *nats.Subscription
	in    chan *nats.Msg
	ended chan struct{} // closed when nothing more is sent to in
}

// statuses is more than the number of status messages that the broker sends for one pull.
const statuses = 16

func (s *subscription) subscribe(inbox string, batch int) (a answers, err error) {
	a.in, a.ended = make(chan *nats.Msg, batch+statuses), make(chan struct{})
	if a.sub, err = s.nc.ChanSubscribe(inbox, a.in); err != nil {
		return a, err
	}
	var once sync.Once // Unsubscribe during a drain calls the handler twice
	a.sub.SetClosedHandler(func(string) { once.Do(func() { close(a.ended) }) })
	return a, nil
}

// next returns the next answer.
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

// collect returns messages up to the last one, and the reason for the end unless it is an ordinary
// one.
func (a answers) collect(ctx context.Context, batch int) (pulled []*nats.Msg, err error) {
	for len(pulled) < batch {
		m, err := a.next(ctx)
		if err != nil {
			return pulled, fmt.Errorf("pull: %w", err)
		}
		switch status := m.Header.Get("Status"); {
		// Only a message of the stream has a reply subject, for its acknowledgement. The header and an
		// empty body prove nothing, because a publisher can write both.
		case status == "" || m.Reply != "":
			pulled = append(pulled, m)
		case status == "100": // an idle heartbeat
		case status == "404" || status == "408": // no message, or none in time
			return pulled, nil
		case status == "503":
			return pulled, fmt.Errorf("pull: %w", nats.ErrNoResponders)
		default:
			return pulled, &pullError{status, m.Header.Get("Description")}
		}
	}
	return pulled, nil
}

// salvage cancels a pull and returns the messages in transit.
func (s *subscription) salvage(a answers, batch int) []*nats.Msg {
	if !s.nc.IsConnected() || a.sub.Drain() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), salvageTimeout)
	defer cancel()
	// The end of the drain ends the wait with an error.
	pulled, _ := a.collect(ctx, batch)
	return pulled
}

// pullError is a refusal of the broker: the consumer was deleted, its leader changed, too many
// messages are pending, or the server is shutting down.
type pullError struct{ status, description string }

func (e *pullError) Error() string {
	return "pull refused: " + e.status + " " + e.description
}

// apiPrefix returns the subject prefix of the JetStream API of js, with a dot at its end.
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
