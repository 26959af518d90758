// Package seal turns a dump into the bytes that are stored, in one pass: it caps the
// size, checks the dump's own structure, counts its rows, compresses, encrypts and hashes.
//
// [New] makes a [Stream] over a dump. Its central promise is that an error is never EOF:
// Read returns io.EOF only after the source ended with io.EOF, the dump's structure was
// whole and [Options].Verify agreed. Until then no encoder is closed, so what was read of
// a failed stream does not decode as a complete artifact.
//
// [Open] undoes the compression and the encryption, and [Check] checks the structure of a
// plain dump. Both release bytes before they have seen the end: read to the end first,
// and only then use what was read.
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
package seal
