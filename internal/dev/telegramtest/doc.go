// Package telegramtest is a test server that behaves like Telegram's Bot API. It is not
// Telegram, and nothing it holds ever leaves the machine: its bots are called "TEST SERVER",
// and each answer carries a Server header that says so.
//
// It enforces the limits that matter for storage in Telegram: uploads of at most 50 MB, refused
// early and in HTML by the proxy; getFile for at most 20 MiB; one message a second to a chat and 20
// a minute to groups and channels, answered with 429 and retry_after; file ids that only one bot
// can use; file paths that are valid for an hour; deletion for 48 hours; rights, protected content,
// auto-delete. [Server.Inject] adds the faults of networks and proxies: resets, lost replies,
// truncated downloads, flipped bits, HTML errors.
//
// A [Clock] replaces the time, so that an upload at Telegram's pace takes virtual minutes and real
// seconds.
package telegramtest
