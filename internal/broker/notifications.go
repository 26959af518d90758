package broker

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// notificationRoot begins the subjects of notifications. They are not under the contract's "backup.…", so that
// a subscription to all events of a project does not get what is only for the notifier.
const notificationRoot = "backup_notification"

// NotificationSubject is where a notification of this key is queued.
func NotificationSubject(channel, key string) string {
	return notificationRoot + "." + channel + "." + key
}

// NotificationFilter matches all notifications of a channel.
func NotificationFilter(channel string) string { return notificationRoot + "." + channel + ".*" }

// NotificationConsumer is the consumer that delivers a channel's notifications.
func NotificationConsumer(channel string) string { return "notify-" + channel }

// NotificationStateSubjects are the subjects that a writer of notification states publishes on:
// the bucket's, and those of the stream of earlier builds, which is used until it was moved.
func NotificationStateSubjects() []string {
	return []string{"$KV." + events.BucketNotificationStates + ".*", oldStateSubject("*")}
}

// NotificationStateStreams are the streams in which the states are found, the older one last.
func NotificationStateStreams() []string { return []string{events.StreamNotificationStates, oldStates} }

// notificationQueue returns the queue's stream. It holds a key only once.
func notificationQueue() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 events.StreamNotifications,
		Description:          "notifications to be delivered, one subject each",
		Subjects:             []string{notificationRoot + ".*.*"},
		Retention:            jetstream.WorkQueuePolicy,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
	}
}
