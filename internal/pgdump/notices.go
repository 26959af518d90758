package pgdump

// notice is a kernel event about one file in the spool. pg_dump opens the file of a table once, so a
// closed file is finished. pg_dump's log is no evidence, because the name of a table can contain any
// line.
type notice struct {
	name            string
	created, closed bool
}
