// Package notify reports to people and programs how an export ended: by mail, by webhook, in chats.
//
// [Dispatcher] turns an outcome into one [Notification] for each channel and recipient. [Courier]
// delivers each notification separately, so that a failure of one channel neither repeats nor
// delays the others.
//
// # Guarantees
//
// Delivery is at least once. Each notification has a [Key], derived from the outcome, the channel
// and the recipient, and a [Record] under that key. A notification with the recorded state sent is
// not sent again by a redelivery or a replay. A crash between the receiver's acceptance and the
// record repeats a notification. The repetition has the same key, which is the Message-ID of a mail
// and the webhook-id of a webhook.
//
// A failed attempt is repeated after a growing pause. A notification that can never be delivered (a
// refused address, a webhook that is gone) is parked at once. Any other is parked after its last
// attempt. A parked notification stays visible and can be replayed.
package notify
