package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/channels"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// notificationSlots is how many notifications of one channel are under way at once.
const notificationSlots = 4

// openNotifier sets up the channels.
func (w *worker) openNotifier() error {
	c := w.config
	if !c.Serves(config.RoleNotifier) {
		return nil
	}
	w.senders = map[notify.Channel]notify.Sender{}
	w.policy = notify.Policy{Domains: c.NotifyDomains, Operators: c.OperatorEmail, Completed: c.NotifyComplete}
	for _, channel := range setup.Channels(c) {
		w.policy.Channels = append(w.policy.Channels, channel)
		if err := w.openChannel(channel); err != nil {
			return err
		}
		w.senders[channel] = w.telemetry.Sender(channel, w.senders[channel])
	}
	return nil
}

func (w *worker) openChannel(channel notify.Channel) error {
	c := w.config
	switch channel {
	case notify.Email:
		sender, _, err := channels.Email(c)
		if err != nil {
			return exit(exitUsage, err)
		}
		w.senders[channel] = sender
	case notify.Webhook:
		sender, err := channels.Webhook(c)
		if err != nil {
			return exit(exitUsage, err)
		}
		w.senders[channel], w.closers = sender, append(w.closers, sender.Close)
	case notify.Telegram:
		chat, err := channels.Telegram(c, w.log)
		if err != nil {
			return exit(exitUsage, err)
		}
		w.policy.Chat = strconv.FormatInt(chat.ID, 10)
		w.senders[channel], w.closers = chat, append(w.closers, chat.Close)
	}
	return nil
}

// notify serves the role: one handler queues who is to be told of an outcome, and one for
// each channel delivers.
func (w *worker) notify(ctx context.Context) error {
	c, js := w.config, w.logins[server.UserNotifier].js
	sub, err := consumer.New(consumer.Config{
		JetStream: js, Bind: notifierBinding, Slots: notificationSlots,
		Backoff: consumer.Exponential(time.Second, time.Minute, nil), DrainTimeout: c.DrainTimeout, Logger: w.log,
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // always nil
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: c.DrainTimeout + time.Minute}, newRouterLog(w.log))
	if err != nil {
		return err
	}
	router.AddMiddleware(consumer.Settle, w.telemetry.Middleware, middleware.Recoverer)
	records := w.telemetry.Records(notificationRecords{broker.NewStates(js, events.StreamNotificationStates)})
	outcomes := &handlers.Notifier{Dispatcher: newDispatcher(w.publisher(server.UserNotifier), js, w.policy), Log: w.log}
	router.AddConsumerHandler("notifier", events.OutcomeFilter("*", "*"), sub, outcomes.Handle)
	courier := notify.NewCourier(notify.CourierConfig{
		Senders: w.senders, Policy: w.policy, Records: records,
		Pause: c.NotifyBackoff, Tries: c.NotifyTries, Timeout: c.NotifyTimeout, Log: w.log,
	})
	for _, channel := range setup.Channels(c) {
		h := &handlers.Notification{Courier: courier, Log: w.log}
		router.AddConsumerHandler("notify-"+string(channel), broker.NotificationFilter(string(channel)), sub, h.Handle)
	}
	return router.Run(ctx)
}

func newDispatcher(publisher telemetry.Publisher, js jetstream.JetStream, p notify.Policy) *notify.Dispatcher {
	return &notify.Dispatcher{
		Policy:  p,
		Records: notificationRecords{broker.NewStates(js, events.StreamNotificationStates)},
		Queue:   notificationQueue{publisher, broker.NewStates(js, events.StreamNotifications)},
	}
}

func notifierBinding(topic string) (broker.Binding, error) {
	if topic == events.OutcomeFilter("*", "*") {
		return broker.Binding{Stream: events.StreamOutcomes, Consumer: events.ConsumerNotifier}, nil
	}
	for _, channel := range notify.Channels() {
		if topic == broker.NotificationFilter(string(channel)) {
			return broker.Binding{Stream: events.StreamNotifications, Consumer: broker.NotificationConsumer(string(channel))}, nil
		}
	}
	return broker.Binding{}, fmt.Errorf("no consumer for %q", topic)
}

// notificationQueue is the queue as notify asks for it.
type notificationQueue struct {
	publisher telemetry.Publisher
	queued    *broker.States // the same stream, read
}

var _ notify.Queue = notificationQueue{}

// Enqueue takes the broker's refusal of a second message under one subject for what it is:
// the notification is in the queue already. A broker whose disk is full refuses with the
// same code, so the queue is asked.
func (q notificationQueue) Enqueue(ctx context.Context, n notify.Notification) error {
	body, err := n.Encode()
	if err != nil {
		return err
	}
	msg := message.NewMessage(string(n.Key), body)
	msg.SetContext(ctx)
	subject := broker.NotificationSubject(string(n.Channel), string(n.Key))
	err = q.publisher.Publish(subject, msg)
	if errors.Is(err, broker.ErrQueueFull) {
		if _, _, there := q.queued.Get(ctx, subject); there == nil {
			return nil
		}
	}
	return err
}
