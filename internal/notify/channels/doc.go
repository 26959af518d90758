// Package channels opens what the configuration names to notify over: a mail server, a webhook, a
// chat.
//
// It stands below internal/notify and not in it: it opens the packages email, webhook and
// telegram, and these import internal/notify. serve and doctor open channels through it.
package channels
