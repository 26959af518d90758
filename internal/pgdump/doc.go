// Package pgdump runs pg_dump as a truthful reader.
//
// [Dumper.Open] connects over pgx, compares versions, exports a snapshot and starts pg_dump
// under it. While pg_dump reads the catalogue it looks at the source in the same snapshot:
// that each schema exists and may be read, and that no row-level security would hide rows;
// and it locks the tables against being rewritten. The connection stays: beside the dump, or
// behind one that is spooled, it counts each table's rows in the same snapshot, which is the
// evidence that the dump holds all of them.
//
// The stream ends with io.EOF only after pg_dump exited 0. Every other ending is an error, an
// [export.Fault] where the cause is known. pg_dump's exit status is always 1 and its texts follow
// the server's language, so causes come from our own side (a timeout, a cancel) or from SQLSTATE,
// by asking the source again; the table in classes.go has them all.
//
// # What pg_dump is given
//
// An absolute path to a versioned binary, arguments from an allow-list, and an environment
// built from scratch: nothing of ours is inherited. The password lies in a memory file that
// only the child has open; it is never in argv, in the environment or on disk.
//
// # What of a DSN is used
//
// URL and keyword/value forms are understood, several hosts included. pg_dump is pinned to
// the very address where the snapshot was taken. TLS settings, channel_binding,
// require_auth, target_session_attrs, connect_timeout and passfile work as in libpq, with
// two differences: nothing is taken from the environment or the home directory, and
// sslmode=verify-ca or verify-full without sslrootcert uses the system's certificates.
// Parameters that would make pg_dump and the look beforehand differ (service, hostaddr,
// sslpassword, Kerberos and the like) are refused. All others, options included, are left
// out on purpose: a server setting such as search_path, role or DateStyle could change the
// dump.
//
// # Groups
//
// A dump of one schema reads the whole catalogue, so with many tenants one dump each costs
// the square of their number. [GroupDumper.NewGroup] takes requests that wait together: one
// snapshot and one pg_dump of all their schemas into a bounded spool, which
// internal/pgdump/archive then divides. Each [Member] gets a Dump of its own, counted in the
// shared snapshot: its part of the archive, or the script that pg_restore makes of it. A member
// that is too large, locked, missing, unreadable or tied to another project is dumped alone. If
// the group dump fails, every member is dumped alone.
//
// The source must be PostgreSQL 10 or later. A pooler in front of it is noticed. In session mode
// the dump works without the settings that a pooler does not hand on; in the other modes it is
// refused, because pg_dump's own settings belong to a session.
package pgdump
