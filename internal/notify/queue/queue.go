// Package queue stores notifications and their states in the broker's streams.
//
// It is a package below internal/notify, because internal/notify does not depend on a broker.
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

// notifications implements notify.Queue.
type notifications struct {
	publisher Publisher
	js        jetstream.JetStream
}

var _ notify.Queue = notifications{}

// Enqueue implements notify.Queue. The broker refuses a second message on a subject: the
// notification is already in the queue. A broker with a full disk refuses with the same code, so
// Enqueue then reads the queue.
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
