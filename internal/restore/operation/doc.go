// Package operation carries out restore.requested: claim, look up the target, place the export, record.
//
// The protocol is that of exports, with the ledger's attempt as the fence. Its special point is that
// the target's COMMIT and our record are two databases. The target decides: its transaction holds a
// marker that is unique for the restore, and a refusal is the same marker without a restore. The
// first of them to commit is how the restore ended, and the record follows it:
//
//   - Before an attempt changes anything it asks the target whether an earlier one has committed, and
//     records that it begins to place.
//   - Once any attempt has begun to place, the restore is recorded as failed only after the target
//     has refused it. From then on no paused attempt can commit.
//   - If the target in which an attempt began cannot be asked for an hour, because it does not answer or
//     the control plane names another one, the outcome is codes.RestoreUnknown. The hour counts from
//     the first question, and a pause of the questions starts it again.
package operation
