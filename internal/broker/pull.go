package broker

import (
	"context"
	"encoding/json"
	"fmt"
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
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", b.Stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when it is over already
	subject := apiPrefix(s.cfg.JetStream) + "CONSUMER.MSG.NEXT." + b.Stream + "." + b.Consumer
	if err := s.nc.PublishRequest(subject, inbox, request); err != nil {
		return nil, fmt.Errorf("pull from %s: %w", b.Stream, err)
	}
	pulled, err := answers(ctx, sub, batch)
	if len(pulled) < batch && ctx.Err() != nil {
		return append(pulled, s.salvage(sub, batch-len(pulled))...), nil
	}
	return pulled, err
}

// answers returns messages up to the last, and the reason why there are no more, if it is
// not an ordinary one.
func answers(ctx context.Context, sub *nats.Subscription, batch int) (pulled []*nats.Msg, err error) {
	for len(pulled) < batch {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return pulled, fmt.Errorf("pull: %w", err)
		}
		switch status := m.Header.Get("Status"); {
		case status == "" || len(m.Data) > 0:
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
func (s *subscription) salvage(sub *nats.Subscription, batch int) []*nats.Msg {
	if !s.nc.IsConnected() || sub.Drain() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), salvageTimeout)
	defer cancel()
	// When the drain is through, the wait ends with an error.
	pulled, _ := answers(ctx, sub, batch)
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
