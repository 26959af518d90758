// Package channels opens the configured channels: a mail server, a webhook, chats.
//
// It is a package below internal/notify, because it imports the packages of the channels, which
// import internal/notify. serve and doctor open channels with it.
package channels
