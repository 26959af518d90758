// Package archive splits a custom-format archive of pg_dump by schema: one consistent dump
// of many projects becomes an archive for each of them, without asking the database again.
//
// [Split] decides from the table of contents whose each entry is. What it cannot attribute
// to exactly one project is an error, never a guess; each part's table of contents is read
// back and attributed once more, with that project's schemas alone. A [Part] is itself a
// custom archive: the header, the project's entries with those that belong to every archive
// (ENCODING, STDSTRINGS, SEARCHPATH, and the database's own, which pg_restore --create
// takes), and its data blocks, all in the order of the whole. `pg_restore -f -` makes of it what `pg_dump -Fp` writes for these schemas.
//
// What makes an entry a project's: it lies in one of its schemas; or it is the SCHEMA entry
// of that name; or it is a COMMENT, ACL or SECURITY LABEL on "SCHEMA ..." whose only
// dependency is such an entry.
//
// Projects that refer to each other (a foreign key, a view, a partition of the other's
// table) get no part: what pg_dump writes of them, and in which order, depends on whether
// the other is dumped as well. They are to be dumped alone. References to what is not in
// the archive are as in any dump of some schemas.
package archive
