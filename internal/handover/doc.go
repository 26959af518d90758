// Package handover gives stored exports to their receivers: links that open one file, and the
// pages and transfers behind them.
//
// Links is the use case: issue, list, revoke, deliver what requests asked for, and announce what
// became of links. Handler serves PUBLIC_URL/d/<token>. Both know the records and the files by
// small interfaces, and no storage, no ledger and no broker.
//
// A link's token is its id and an HMAC over the id, the export and the expiry. Nothing keeps the
// token: whatever has a link's record and the link key can make it again.
package handover
