// Package archive reads the output of pg_dump. It checks that a dump is complete, counts the rows
// of each table in it, and splits a custom archive by schema.
//
// A [Checker] checks a dump while it is written to it. [Check] reads a dump to its end. [Readable]
// passes on only checked bytes. The caller of the first two has the bytes before they are checked,
// so it must reach the end before it uses them.
//
// # When a dump is complete
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
// The checks keep only the names of tables in memory: at most 64 MiB for a hostile dump, some
// kilobytes for a usual one.
//
// # Splitting
//
// [Split] divides a custom archive of several projects: one consistent dump becomes an archive for
// each project, without another query to the database. An [Indexer] finds the positions of its
// parts.
//
// [Split] uses the table of contents to decide to which project each entry belongs. An entry that
// it cannot attribute to exactly one project is an error. It reads the table of contents of each
// part back and attributes it again, with the schemas of that project only. A [Part] is itself a
// custom archive: the header; the project's entries with those of every archive (ENCODING,
// STDSTRINGS, SEARCHPATH, and the database's own, which pg_restore --create uses); and its data
// blocks, all in the order of the whole archive. `pg_restore -f -` turns it into the output of
// `pg_dump -Fp` for these schemas.
//
// An entry belongs to a project if it is in one of its schemas; or if it is the SCHEMA entry of
// that name; or if it is a COMMENT, ACL or SECURITY LABEL on "SCHEMA ..." that depends on such an
// entry only.
//
// Projects that refer to each other (a foreign key, a view, a partition of the other's table) get
// no part: what pg_dump writes of them, and in which order, depends on whether the other is dumped
// as well. They must be dumped alone. References to objects outside of the archive are as in any
// dump of some schemas.
package archive
