package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/email"
	notifytelegram "github.com/pgcourier/pgcourier/internal/notify/telegram"
	"github.com/pgcourier/pgcourier/internal/notify/webhook"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// notificationSlots is how many notifications of one channel are under way at once.
const notificationSlots = 4

// notifying reports whether c's roles include the notifier's, and exporting whether any
// other, which needs the database.
func notifying(c config.Config) bool { return slices.Contains(c.Roles, config.RoleNotifier) }

func exporting(c config.Config) bool {
	return slices.ContainsFunc(c.Roles, func(r string) bool { return r != config.RoleNotifier && r != config.RoleVerifier })
}

// notificationChannels are the channels that a notifier of c delivers over.
func notificationChannels(c config.Config) []string {
	var out []string
	if !notifying(c) {
		return nil
	}
	for channel, set := range map[notify.Channel]bool{
		notify.Email: c.SMTPURL != "", notify.Webhook: c.WebhookURL != "", notify.Telegram: c.TelegramChat != "",
	} {
		if set {
			out = append(out, string(channel))
		}
	}
	slices.Sort(out)
	return out
}

// openNotifier sets up the channels.
func (w *worker) openNotifier() error {
	c := w.config
	if !notifying(c) {
		return nil
	}
	w.senders = map[notify.Channel]notify.Sender{}
	w.policy = notify.Policy{Domains: c.NotifyDomains, Operators: c.OperatorEmail, Completed: c.NotifyComplete}
	for _, name := range notificationChannels(c) {
		channel := notify.Channel(name)
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
		server, err := email.ParseURL(c.SMTPURL)
		if err != nil {
			return exitf(exitUsage, "PGCOURIER_SMTP_URL: %w", err)
		}
		server.Timeout = c.NotifyTimeout
		sender, err := email.New(server)
		if err != nil {
			return exitf(exitUsage, "PGCOURIER_SMTP_URL: %w", err)
		}
		w.senders[channel] = sender
	case notify.Webhook:
		sender, err := newWebhook(c)
		if err != nil {
			return exitf(exitUsage, "PGCOURIER_WEBHOOK_URL, PGCOURIER_WEBHOOK_SECRET: %w", err)
		}
		w.senders[channel], w.closers = sender, append(w.closers, sender.Close)
	case notify.Telegram:
		place, client, err := openChat(c, w.log)
		if err != nil {
			return exitf(exitUsage, "PGCOURIER_NOTIFY_TELEGRAM_CHAT: %w", err)
		}
		w.policy.Chat = strconv.FormatInt(place.Chat, 10)
		w.senders[channel], w.closers = notifytelegram.New(client), append(w.closers, client.Close)
	}
	return nil
}

func newWebhook(c config.Config) (*webhook.Sender, error) {
	var secrets []secret.String
	for one := range strings.SplitSeq(c.WebhookSecret.Reveal(), ",") {
		secrets = append(secrets, secret.String(strings.TrimSpace(one)))
	}
	return webhook.New(webhook.Config{URL: c.WebhookURL, Secrets: secrets})
}

// openChat takes a chat's id, or its location as storage does.
func openChat(c config.Config, log *slog.Logger) (telegram.Location, *telegram.Client, error) {
	raw := c.TelegramChat
	if !strings.Contains(raw, "://") {
		raw = "telegram://" + raw
	}
	place, err := telegram.ParseLocation(raw)
	if err != nil {
		return place, nil, err
	}
	client, err := telegram.NewClient(telegram.ClientConfig{
		Token: c.TelegramToken, BaseURL: place.API, Logger: log,
		Attempts: 1, MaxRetryAfter: time.Nanosecond, // trying again is the notifier's
	})
	return place, client, err
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
	router.AddMiddleware(w.telemetry.Middleware(deliveryOf), middleware.Recoverer)
	records := w.telemetry.Records(notificationRecords{broker.NewStates(js, events.StreamNotificationStates)})
	outcomes := &handlers.Notifier{Dispatcher: newDispatcher(w.publisher(server.UserNotifier), js, w.policy), Deliveries: deliveries{}, Log: w.log}
	router.AddConsumerHandler("notifier", events.OutcomeFilter("*", "*"), sub, outcomes.Handle)
	courier := notify.NewCourier(notify.CourierConfig{
		Senders: w.senders, Policy: w.policy, Records: records,
		Pause: c.NotifyBackoff, Tries: c.NotifyTries, Timeout: c.NotifyTimeout, Log: w.log,
	})
	for _, channel := range notificationChannels(c) {
		h := &handlers.Notification{Courier: courier, Delayer: delayer{}, Log: w.log}
		router.AddConsumerHandler("notify-"+channel, broker.NotificationFilter(channel), sub, h.Handle)
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

// delayer is the broker as the handler of notifications asks for it.
type delayer struct{}

var _ handlers.Delayer = delayer{}

func (delayer) Delay(msg *message.Message, pause time.Duration) { consumer.Delay(msg, pause) }

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
