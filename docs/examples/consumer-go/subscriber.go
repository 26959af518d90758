package main

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// handlerLimit is the consumer's ack wait. A handler that takes longer gets its message
	// a second time while it runs: this adapter sends no sign of life. That is enough for a
	// notification, and not for hours of work.
	handlerLimit = 30 * time.Second
	retryPause   = 5 * time.Second
	// subjectKey is where the adapter puts the subject in a message's metadata.
	subjectKey = "subject"
)

// subscriber is a Watermill subscriber over one durable pull consumer, one message at a time.
type subscriber struct{ consumer jetstream.Consumer }

var _ message.Subscriber = (*subscriber)(nil)

// Subscribe delivers messages until ctx ends.
func (s *subscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	messages, err := s.consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		defer stop()
		for {
			m, err := messages.Next()
			if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				return
			}
			if err != nil {
				continue // a missed heartbeat: the library asks again
			}
			if !deliver(ctx, m, out) {
				return
			}
		}
	}()
	return out, nil
}

// deliver hands one message over and settles it by the handler's verdict.
func deliver(ctx context.Context, m jetstream.Msg, out chan<- *message.Message) bool {
	msg := message.NewMessage(m.Headers().Get("ce-id"), m.Data())
	msg.SetContext(context.WithoutCancel(ctx)) // a running handler may finish
	for name, values := range m.Headers() {
		msg.Metadata.Set(name, values[0])
	}
	msg.Metadata.Set(subjectKey, m.Subject())
	select {
	case out <- msg:
	case <-ctx.Done():
		_ = m.Nak() // the handler did not see it
		return false
	}
	select {
	case <-msg.Acked():
		// Confirmed: a plain ack is lost when the process ends right after it.
		settled, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryPause)
		defer cancel()
		_ = m.DoubleAck(settled) // else it comes again, as the handler must bear
	case <-msg.Nacked():
		_ = m.NakWithDelay(retryPause)
	}
	return true
}

// Close does nothing: the router ends the subscription's context.
func (s *subscriber) Close() error { return nil }
