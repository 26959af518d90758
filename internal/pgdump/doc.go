// Package pgdump runs pg_dump as an io.Reader that returns io.EOF only for a complete dump.
//
// [Dumper.Open] connects over pgx, compares versions, exports a snapshot and starts pg_dump with it.
// While pg_dump reads the catalogue, the session checks the source in the same snapshot: each schema
// exists and is readable, and no row-level security would hide rows. It also locks the tables. During
// the dump (for format directory, behind it) the session counts the rows of each table in the same
// snapshot: the evidence that the dump holds all of them.
//
// The session calls no code of a tenant: planned.go says which tables are counted without a plan.
//
// The stream ends with io.EOF only after pg_dump exited 0. Every other end is an error, an
// [export.Fault] if the cause is known. pg_dump's exit status is always 1 and its messages follow the
// language of the server. So causes come from the worker (a timeout, a cancel) or from SQLSTATEs of
// new queries to the source; classes.go has the table.
//
// # The environment of pg_dump
//
// pg_dump gets an absolute path to a versioned binary, arguments from an allow-list, and an environment
// built from scratch; it inherits nothing. The password is in a memory file that only the child has
// open; it is never in argv, in the environment or on disk.
//
// # The parameters of a DSN
//
// A DSN is a URL or a list of keywords and values, with one host or several. pg_dump connects to the
// address of the server that exported the snapshot. TLS settings, channel_binding, require_auth,
// target_session_attrs, connect_timeout and passfile work as in libpq, with two differences: the
// environment and the home directory are not read, and sslmode=verify-ca or verify-full without
// sslrootcert uses the system's certificates. Parameters that could make pg_dump and the preflight
// differ (service, hostaddr, sslpassword, Kerberos and similar ones) are refused. All others, options
// included, are ignored: a server setting such as search_path, role or DateStyle could change the
// dump.
//
// # Groups
//
// A dump of one schema reads the whole catalogue. With one dump for each of many tenants the cost grows
// with the square of their number. [GroupDumper.NewGroup] makes a group of waiting requests: one
// snapshot, and one pg_dump of all their schemas into a bounded spool, which internal/pgdump/archive
// splits. Each [Member] gets a Dump of its own, counted in the shared snapshot: its part of the
// archive, or the script that pg_restore makes of it. A member that is too large, locked, missing,
// unreadable or tied to another project is dumped alone. If the group dump fails, every member is
// dumped alone.
//
// The source must be PostgreSQL 10 or later. Open detects a pooler in front of it. In session mode the
// dump works, without the settings that the pooler does not pass on. In the other modes it is refused,
// because pg_dump needs its settings for a whole session.
package pgdump
