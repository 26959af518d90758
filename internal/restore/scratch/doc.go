// Package scratch is where exports are rehearsed: a throw-away server or one that the operator
// names, and the sandbox around psql, pg_restore and that server.
//
// It stands below internal/restore and not in it: restore knows neither sandboxes nor servers of
// its own, and the demo and the tests of restore need neither.
package scratch
