// Package queue keeps notifications, and what became of them, in the broker's streams.
//
// It stands below internal/notify and not in it: notify knows no broker.
package queue

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Publisher publishes to the broker's streams.
type Publisher interface {
	Publish(topic string, messages ...*message.Message) error
}

// NewDispatcher returns a dispatcher that puts notifications into the broker's queue.
func NewDispatcher(publisher Publisher, js jetstream.JetStream, p notify.Policy) *notify.Dispatcher {
	return &notify.Dispatcher{
		Policy: p, Records: NewRecords(js),
		Queue: notifications{publisher, js},
	}
}

// notifications is the queue as notify asks for it.
type notifications struct {
	publisher Publisher
	js        jetstream.JetStream
}

var _ notify.Queue = notifications{}

// Enqueue implements notify.Queue. The broker refuses a second message under one subject: the
// notification is in the queue already. A broker with a full disk refuses with the same code, so
// the queue is asked.
func (q notifications) Enqueue(ctx context.Context, n notify.Notification) error {
	body, err := n.Encode()
	if err != nil {
		return err
	}
	msg := message.NewMessage(string(n.Key), body)
	msg.SetContext(ctx)
	subject := broker.NotificationSubject(string(n.Channel), string(n.Key))
	err = q.publisher.Publish(subject, msg)
	if errors.Is(err, broker.ErrQueueFull) {
		if stream, missing := q.js.Stream(ctx, events.StreamNotifications); missing == nil {
			if _, missing = stream.GetLastMsgForSubject(ctx, subject); missing == nil {
				return nil
			}
		}
	}
	return err
}
