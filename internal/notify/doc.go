// Package notify tells people and programs how an export ended: by mail, by webhook, in a
// Telegram chat.
//
// An outcome becomes one [Notification] for each channel and recipient ([Dispatcher]), and
// each of them is delivered on its own ([Courier]), so that one channel's failure neither
// repeats nor delays another's.
//
// # What is promised
//
// Delivery is at least once. Each notification has a [Key] that follows from the outcome,
// the channel and the recipient, and a [Record] under that key. A notification that is
// recorded as sent is not sent again, whatever is redelivered or replayed. A crash
// between the acceptance by the other side and the record repeats a notification: with the
// same key, as the mail's Message-ID and the webhook's webhook-id.
//
// A failed try is repeated after a growing pause. A notification that can never be delivered
// (a refused address, a webhook that is gone) is parked at once, any other when its tries are
// used up. A parked notification stays visible and can be replayed.
package notify
