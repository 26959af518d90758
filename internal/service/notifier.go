package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/channels"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// notificationSlots is how many notifications of one channel are sent at the same time.
const notificationSlots = 4

// NotifierConfig is what the role notifier needs.
type NotifierConfig struct {
	JetStream jetstream.JetStream
	Channels  *openedChannels
	// Link returns the URL of a download link; nil: this process cannot compute it.
	Link func(events.LinkIssued) (string, error)
	// Pause is the pause after the first failed try, Tries the number of tries, Timeout the limit
	// of one try.
	Pause   time.Duration
	Tries   int
	Timeout time.Duration
	// Digest is the window within which mails to an operator are gathered. 0: never.
	Digest time.Duration
	Drain  time.Duration
	// Ready blocks until messages may be pulled. Begun is called when the consumers are bound.
	Ready func(ctx context.Context) error
	Begun func()
	// Turned is called at each turn of a consumer's loop. See consumer.Config.
	Turned    func(consumer string, next time.Duration)
	Telemetry *telemetry.Telemetry
	Log       *slog.Logger
}

// Notifier is the role notifier. One handler queues a notification for each recipient of an outcome,
// a failed verification, a coming deletion or a link. One handler for each channel sends them.
type Notifier struct{ config NotifierConfig }

// NewNotifier makes a Notifier.
func NewNotifier(c NotifierConfig) *Notifier { return &Notifier{c} }

// Run notifies until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	c := n.config
	policy := c.Channels.policy
	publisher := c.Telemetry.Publisher(broker.NewPublisher(c.JetStream))
	outcomes := &handlers.Notifier{Dispatcher: queue.NewDispatcher(publisher, c.JetStream, policy), Log: c.Log}
	all := []handler{
		{"notifier", events.OutcomeFilter("*", "*"), outcomes.Handle, 0},
		{events.ConsumerNotifierDamaged, events.VerificationFailedFilter, outcomes.Handle, 0},
		{events.ConsumerNotifierExpiring, events.ExpiringFilter, outcomes.Handle, 0},
		{events.ConsumerNotifierLinks, events.LinkIssuedFilter, outcomes.Handle, 0},
	}
	courier := notify.NewCourier(notify.CourierConfig{
		Senders: c.Channels.senders, Policy: policy, Records: c.Telemetry.Records(queue.NewRecords(c.JetStream)),
		Link: c.Link, Pause: c.Pause, Tries: c.Tries, Timeout: c.Timeout, Log: c.Log,
	})
	for _, channel := range policy.Channels {
		h := &handlers.Notification{Courier: courier, Log: c.Log}
		slots := notificationSlots
		if channel == notify.Email {
			h.Courier = notify.NewGatherer(courier, c.Digest, notificationSlots, ctx.Done())
			slots += notify.DigestMost // mails that wait for a digest do not delay others
		}
		all = append(all, handler{"notify-" + string(channel), broker.NotificationFilter(string(channel)), h.Handle, slots})
	}
	return handle(ctx, consumer.Config{
		JetStream: c.JetStream, Bind: notifierBinding, Slots: notificationSlots, Ready: c.Ready,
		Backoff: consumer.Exponential(time.Second, time.Minute, nil), DrainTimeout: c.Drain, Logger: c.Log, Turned: c.Turned,
	}, c.Telemetry, c.Begun, all...)
}

func notifierBinding(topic string) (broker.Binding, error) {
	switch topic {
	case events.OutcomeFilter("*", "*"):
		return broker.Binding{Stream: events.StreamOutcomes, Consumer: events.ConsumerNotifier}, nil
	case events.VerificationFailedFilter:
		return broker.Binding{Stream: events.StreamEvents, Consumer: events.ConsumerNotifierDamaged}, nil
	case events.ExpiringFilter:
		return broker.Binding{Stream: events.StreamEvents, Consumer: events.ConsumerNotifierExpiring}, nil
	case events.LinkIssuedFilter:
		return broker.Binding{Stream: events.StreamEvents, Consumer: events.ConsumerNotifierLinks}, nil
	}
	for _, channel := range notify.Channels() {
		if topic == broker.NotificationFilter(string(channel)) {
			return broker.Binding{Stream: events.StreamNotifications, Consumer: broker.NotificationConsumer(string(channel))}, nil
		}
	}
	return broker.Binding{}, fmt.Errorf("no consumer for %q", topic)
}

// openedChannels holds the senders of a notifier and its policy.
type openedChannels struct {
	senders map[notify.Channel]notify.Sender
	policy  notify.Policy
	closers []func() error
}

// openChannels opens the channels of a notifier, none if c has no role notifier. It makes no
// connection yet. The caller closes them.
func openChannels(c config.Config, tel *telemetry.Telemetry, log *slog.Logger) (*openedChannels, error) {
	o := &openedChannels{
		senders: map[notify.Channel]notify.Sender{},
		policy:  notify.Policy{Domains: slices.Clone(c.NotifyDomains), Operators: c.OperatorEmail, Completed: c.NotifyComplete, Expiring: c.NotifyExpiring},
	}
	for i, domain := range o.policy.Domains {
		ascii, err := notify.ASCIIDomain(domain) // a request's address is ASCII
		if err != nil {
			return nil, config.Errorf("PGCOURIER_NOTIFY_DOMAINS: %w", err)
		}
		o.policy.Domains[i] = ascii
	}
	for _, channel := range setup.Channels(c) {
		sender, err := o.open(c, channel, log)
		if err != nil {
			return nil, errors.Join(err, o.Close())
		}
		o.policy.Channels = append(o.policy.Channels, channel)
		o.senders[channel] = tel.Sender(channel, sender)
	}
	return o, nil
}

func (o *openedChannels) open(c config.Config, channel notify.Channel, log *slog.Logger) (notify.Sender, error) {
	switch channel {
	case notify.Webhook:
		sender, err := channels.Webhook(c)
		if err != nil {
			return nil, err
		}
		o.closers = append(o.closers, sender.Close)
		return sender, nil
	case notify.Telegram:
		chat, err := channels.Telegram(c, log)
		if err != nil {
			return nil, err
		}
		o.policy.Chat = strconv.FormatInt(chat.ID, 10)
		o.closers = append(o.closers, chat.Close)
		return chat, nil
	case notify.Hook:
		sender, err := channels.Hooks(c)
		if err != nil {
			return nil, err
		}
		o.policy.Hooks, o.policy.Alive, o.policy.Dead = sender.Chats(), sender.Alive(), sender.Dead()
		o.closers = append(o.closers, sender.Close)
		return sender, nil
	default: // notify.Email
		sender, _, err := channels.Email(c)
		return sender, err
	}
}

// Close releases the channels' connections.
func (o *openedChannels) Close() error {
	var faults []error
	for _, c := range slices.Backward(o.closers) {
		faults = append(faults, c())
	}
	return errors.Join(faults...)
}
