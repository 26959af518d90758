// Package replay asks for failed exports again. It works from the streams alone, so a lost
// ledger is no hindrance: each backup.failed holds its request.
//
// A replay is a new request. Its id follows from the first request of its chain and its
// place in it (events.ReplayID). So nothing has to be remembered: replaying the same
// failure twice, from two terminals at once or after a crash, publishes the same request
// twice, which is one request.
package replay
