// Package ledger records each request and attempt in PostgreSQL: claim, lease, fence, commit, and
// the queries of the reaper and the collector. It implements the ports Ledger, Outbox, Reaper,
// Collector and Cleaner of package export.
//
// All state is in the schema pgcourier, which Open migrates. All times are from the database's
// clock, never a worker's. Every method is safe for concurrent use by any number of processes and
// has its own timeout. It may return an error that wraps export.ErrLedgerUnavailable: the result of
// the call is then unknown, and repeating it is safe.
//
// No transaction waits for its client: a claim is one pipeline, and every other call is one
// statement or a few fenced ones. A worker that is paused in the middle of a call therefore does
// not block the others. A claim and a finish cost one round trip each.
package ledger
