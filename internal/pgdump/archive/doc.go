// Package archive reads what pg_dump writes. It checks that a dump is whole, counts the rows of
// each table in it, and splits a custom archive by schema.
//
// A [Checker] checks a dump while it is written to it; [Check] reads one to its end; [Readable]
// hands on only what it has checked. The first two see the bytes before the end: read to the
// end first, and only then use what was read.
//
// # What "whole" means
//
//   - SQL: the closing \unrestrict has the key of the opening \restrict (pg_dump since the
//     releases of August 2025) and follows the comment "PostgreSQL database dump
//     complete"; without an opening \restrict that comment alone. Both count only at top
//     level: never in a row, a string, a function's body. Any other psql meta-command is
//     refused: a backup holds none, and psql would execute it. That excludes scripts of
//     pg_dump --create, which hold \connect.
//   - Tar: toc.dat is first, restore.sql last, two zero blocks follow and nothing but
//     zeros after them; each entry with data in toc.dat has its member, exactly once.
//   - Custom: each entry with data in the table of contents has its block, exactly once,
//     and the archive ends where a block ends. Only archives that pg_dump did not compress
//     (-Z0) are accepted, because rows are counted in them.
//   - Directory: a tar of pg_dump's directory archive, written with -Z0: each table's file
//     once, in any order, then toc.dat, which lists exactly those, then two zero blocks and
//     nothing but zeros.
//
// The checks hold memory for the names of tables only: at most 64 MiB for a hostile dump,
// some kilobytes for a usual one.
//
// # Splitting
//
// [Split] divides a custom archive of several projects: one consistent dump becomes an archive
// for each of them, without asking the database again. An [Indexer] finds where its parts lie.
//
// [Split] decides from the table of contents to which project each entry belongs. An entry that it
// cannot attribute to exactly one project is an error; each part's table of contents is read back
// and attributed once more, with that project's schemas alone. A [Part] is itself a custom archive:
// the header, the project's entries with those that belong to every archive (ENCODING, STDSTRINGS,
// SEARCHPATH, and the database's own, which pg_restore --create takes), and its data blocks, all in
// the order of the whole. `pg_restore -f -` makes of it what `pg_dump -Fp` writes for these
// schemas.
//
// What makes an entry a project's: it lies in one of its schemas; or it is the SCHEMA entry
// of that name; or it is a COMMENT, ACL or SECURITY LABEL on "SCHEMA ..." that depends on such
// an entry alone.
//
// Projects that refer to each other (a foreign key, a view, a partition of the other's
// table) get no part: what pg_dump writes of them, and in which order, depends on whether
// the other is dumped as well. They are to be dumped alone. References to what is not in
// the archive are as in any dump of some schemas.
package archive
