// Package restore verifies a stored export and restores it into a database.
//
// A restore verifies before it feeds. [Export.Verify] reads the whole export and compares it with its
// manifest: size and hash of the stored bytes, decryption, decompression, size of the dump, its
// structure, and the rows of every table. [Restorer.Restore] does that first. Then it reads the
// export a second time and feeds it, and checks that the bytes equal those of the first pass.
//
// # One transaction, and how it ends
//
// Every format becomes a script in one psql: pg_restore, without a connection, turns a tar or custom
// archive into a script. The restorer controls the transaction: it feeds BEGIN before the script and
// COMMIT after it, if the second pass was equal to the first, pg_restore exited 0, and every table was
// counted in the same transaction. psql or pg_restore with --single-transaction would commit at the
// end of its input, also if a damaged file or the death of the feeding process ended it.
//
// # Placing
//
// [Restorer.Place] restores an export, or some of its tables, into a project's schema that may be in
// use, also under another name. It executes the script itself, statement by statement, in one
// transaction of its own connection. What it replaces is moved into a schema that [Restorer.DropKept]
// drops later. A marker with the restore's id commits with the transaction: [Restorer.Committed] finds
// it, and [Restorer.Refuse] keeps a lost attempt from committing. [Restorer.Plan] only looks.
//
// # What a restore executes
//
// A restore executes what the dump defines: functions of the source run in the target when indexes
// are built or views are filled, with the rights of the login. Meta-commands of psql cannot run:
// package archive refuses a script with one other than \restrict. Restore with a login that has no
// more rights than it needs. In a placement the functions have the rights of [Placement.Owner] only, and
// cannot take those of the login.
package restore
