// Package pgversion is what pgcourier knows of PostgreSQL's versions: which settings and
// options each has, which archives its pg_dump writes, and which releases of its client tools
// have published faults. No other package compares a version with a number.
//
// The rule for versions that are newer than the tables, Newest and NewestArchive:
//
//   - A server or a client tool of a newer major version counts as one of Newest. A server is
//     dumped if a pg_dump as new as itself is installed. Nothing is taken on trust: pg_dump's
//     own check of the server, the structure of the stream and the counted rows must all fit.
//   - A newer client is used only where no known one is new enough.
//   - An archive of a newer version is refused, because its table of contents cannot be read:
//     its rows cannot be counted. What pg_dump writes in plain text is not affected.
//   - A newer major version has no published faults yet, and knows \restrict.
//
// docs/postgresql-versions.md has the same for operators.
package pgversion
