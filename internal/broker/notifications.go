package broker

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// The subjects of notifications. They are not under the contract's "backup.…", so that
// a subscription to all events of a project does not get what is only for the notifier.
const (
	notificationRoot      = "backup_notification"
	notificationStateRoot = "backup_notification_state"
)

// NotificationSubject is where a notification of this key is queued.
func NotificationSubject(channel, key string) string {
	return notificationRoot + "." + channel + "." + key
}

// NotificationFilter matches all notifications of a channel.
func NotificationFilter(channel string) string { return notificationRoot + "." + channel + ".*" }

// NotificationConsumer is the consumer that delivers a channel's notifications.
func NotificationConsumer(channel string) string { return "notify-" + channel }

// NotificationStateSubject is where the state of a notification is kept.
func NotificationStateSubject(key string) string { return notificationStateRoot + "." + key }

// notificationStreams returns the queue, in which a key can lie once only, and the states,
// of which the newest of each key is kept as long as the outcome.
func (t Topology) notificationStreams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:                 events.StreamNotifications,
			Description:          "notifications to be delivered, one subject each",
			Subjects:             []string{notificationRoot + ".*.*"},
			Retention:            jetstream.WorkQueuePolicy,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxMsgsPerSubject:    1,
		},
		{
			Name:              events.StreamNotificationStates,
			Description:       "the state of each notification",
			Subjects:          []string{notificationStateRoot + ".*"},
			MaxAge:            t.OutcomeRetention,
			MaxMsgsPerSubject: 1,
		},
	}
}
