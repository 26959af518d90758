// Package telegramtest is a test server that behaves like Telegram's Bot API. It is not
// Telegram, and nothing it holds ever leaves the machine: its bots are called "TEST SERVER",
// and each answer carries a Server header that says so.
//
// It enforces what makes storage in Telegram hard: uploads of at most 50 MB, refused early
// and in HTML by the proxy; getFile for at most 20 MiB; one message a second to a chat and 20
// a minute to groups and channels, answered with 429 and retry_after; file ids that are of
// use to one bot only; file paths that are good for an hour; deletion for 48 hours; rights,
// protected content, auto-delete. [Server.Inject] adds what networks and proxies do:
// resets, lost replies, truncated downloads, flipped bits, HTML errors.
//
// Time is a [Clock] of its own where one is given, so that an upload at Telegram's pace takes
// virtual minutes and real seconds.
package telegramtest
