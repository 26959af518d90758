// Package restore reads a stored export back, and feeds it into a database.
//
// Nothing is consumed before it was verified. [Export.Verify] reads the whole export and
// checks it against its manifest: size and hash of the stored bytes, decryption,
// decompression, size of the dump, its own structure, and the rows of every table.
// [Restorer.Restore] does that first, and only then reads a second time and feeds, while it
// checks that the bytes are those of the first pass.
//
// # One transaction, and how it ends
//
// Every format ends up as a script in one psql: a tar or custom archive goes through
// pg_restore, which here has no connection and only writes the script. The transaction is
// ours: BEGIN is fed before the script and COMMIT after it, once the second pass was equal
// to the first, pg_restore exited 0, and every table was counted in the same transaction. A
// psql or pg_restore with --single-transaction would commit at the end of its input,
// whatever ended it: a damaged file, or the death of the process that fed it.
//
// # What a restore executes
//
// A restore executes what the dump defines: functions of the source run in the target when indexes
// are built or views are filled, with the rights of the login. psql's own commands are no part of
// it: a script with a meta-command other than \restrict is not whole for package archive. Restore
// with a login that has no more rights than it needs.
package restore
