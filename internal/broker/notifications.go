package broker

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// notificationRoot begins the subjects of notifications. They are not under the contract's
// "backup.…", so that a subscription to all events of a project does not get them.
const notificationRoot = "backup_notification"

// NotificationSubject returns the subject of a queued notification.
func NotificationSubject(channel, key string) string {
	return notificationRoot + "." + channel + "." + key
}

// NotificationFilter matches all notifications of a channel.
func NotificationFilter(channel string) string { return notificationRoot + "." + channel + ".*" }

// NotificationConsumer returns the name of the consumer of a channel's notifications.
func NotificationConsumer(channel string) string { return "notify-" + channel }

// NotificationStateSubjects returns the subjects to which notification states are published: those
// of the bucket, and those of the stream of earlier builds, which is used until it is moved.
func NotificationStateSubjects() []string {
	return []string{"$KV." + events.BucketNotificationStates + ".*", oldStateSubject("*")}
}

// NotificationStateStreams returns the streams with notification states, the older one last.
func NotificationStateStreams() []string { return []string{events.StreamNotificationStates, oldStates} }

// notificationQueue returns the stream of the queue. It stores each key only once.
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
