// Package telegram stores parts of artifacts as documents in one Telegram chat, over the
// Bot API, such that they can be read back, deleted and found again.
//
// A [Client] speaks the few calls of the Bot API that are needed; a [Driver] is the
// storage driver above it.
//
// # Limits of the service
//
// A bot may upload 50 MB, but fetch no more than 20 MiB of a file, so a part is never
// larger than what can be fetched ([MaxCloudPart]). A bot sends at most one message a
// second to a chat and 20 a minute to a group or channel: 19 MiB a part is about 6.6 MB/s,
// 10 GiB about 26 minutes. A bot deletes its messages for 48 hours; afterwards it can only
// replace the file by an empty one, a tombstone.
//
// # Orphans
//
// When the reply to an upload is lost after Telegram accepted it, the client sends the
// part again: the chat then holds it twice and only the second is referred to. A bot cannot
// list a chat's history, so such an orphan stays until a human deletes it. It is why
// parts should be encrypted before they come here.
//
// # Groups that become supergroups
//
// A group gets another id when it becomes a supergroup. Calls to the old id are answered with the
// new one, and follow it; calls that name a message do not, because the supergroup numbers its
// messages anew. References to the group stay valid for reading. Its messages cannot be deleted any
// more: such a deletion is storage.Hidden.
//
// # Terms
//
// Telegram's Bot Developer Terms forbid offering cloud storage as a service. This is a
// copy that owners keep in a chat of their own, with one bot.
package telegram
