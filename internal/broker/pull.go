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

// pull asks for one message and waits for it; nil without an error when none came.
//
// It speaks the pull protocol itself. In the library's Fetch, calling off a pull loses a
// message that is already under way, and with it one of its three deliveries; here the
// subscription is drained and such a message is returned.
//
// A request waits for half an AckWait at most. So when a link dies without a word, the
// broker has forgotten the requests on it before anything that is held on the same link
// can expire: a dead worker's requests never swallow its own redeliveries.
func (s *subscription) pull(ctx context.Context, link <-chan struct{}, b bound) (*nats.Msg, error) {
	expires := min(maxPull, b.ackWait/2)
	request, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires"`
	}{1, expires})
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
	waiting, cancel := context.WithTimeout(ctx, expires+pullGrace)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-link:
			cancel()
		case <-stopped:
		}
	}()
	m, err := answer(waiting, sub)
	if m == nil && waiting.Err() != nil {
		return s.salvage(sub), nil
	}
	return m, err
}

// answer returns the first message or the reason why there is none.
func answer(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("pull: %w", err)
		}
		switch status := m.Header.Get("Status"); {
		case status == "" || len(m.Data) > 0:
			return m, nil
		case status == "100": // an idle heartbeat
		case status == "404" || status == "408": // none, or none in time
			return nil, nil //nolint:nilnil // no message in this pull is an ordinary answer
		case status == "503":
			return nil, fmt.Errorf("pull: %w", nats.ErrNoResponders)
		default:
			return nil, &pullError{status, m.Header.Get("Description")}
		}
	}
}

// salvage calls off a pull and returns the message that was under way, if any.
func (s *subscription) salvage(sub *nats.Subscription) *nats.Msg {
	if !s.nc.IsConnected() || sub.Drain() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), salvageTimeout)
	defer cancel()
	// When the drain is through, the wait ends with an error.
	m, err := answer(ctx, sub)
	if err != nil {
		return nil
	}
	return m
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
