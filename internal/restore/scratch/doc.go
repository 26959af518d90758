// Package scratch opens the server on which exports are rehearsed (a temporary one, or one that the
// operator names), and the sandbox around psql, pg_restore and that server.
//
// It is not part of internal/restore, so that the demo and the tests of restore need neither
// sandboxes nor temporary servers.
package scratch
