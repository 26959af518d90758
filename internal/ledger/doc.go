// Package ledger is the record of each request and attempt in PostgreSQL: claim, lease,
// fence, commit, and what the reaper and the collector need. It implements the ports
// Ledger, Outbox, Reaper, Collector and Cleaner of package export.
//
// All state is in the schema pgcourier, which Open brings up to date. All times are the
// database's clock, never a worker's. Every method is safe for concurrent
// use by any number of processes, is bounded by a deadline of its own, and may return
// an error wrapping export.ErrLedgerUnavailable: the outcome of the call is then
// unknown, and calling again is safe.
//
// No transaction waits for its client: a claim is one pipeline, every other call is one
// statement or a few fenced ones. A worker that is paused in the middle of a call
// therefore does not block the others. A claim and a finish cost one round trip each.
package ledger
