// Package libpq leads PostgreSQL's own client tools (pg_dump, psql, pg_restore) and pgx to
// the same server in the same way.
//
// [Parse] makes a DSN ready for both. Nothing is taken from the environment or the home
// directory; TLS settings, channel_binding, require_auth, target_session_attrs,
// connect_timeout and passfile work as in libpq, several hosts included. Parameters that one
// of the two would honour alone are refused, all others are left out.
//
// [Discover] finds the tools, [StartProcess] runs one: an absolute path, an environment from
// scratch ([Source.Environment]), the password in a memory file that only the child has
// open, a process group of its own, and an end with its parent.
package libpq
