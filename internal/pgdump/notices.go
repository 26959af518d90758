package pgdump

// notice is what the kernel tells of one file in the spool. pg_dump opens a table's file once, so
// a closed one is finished. The words of pg_dump are no evidence: a table's name can hold
// anything, and so can a line of its log.
type notice struct {
	name            string
	created, closed bool
}
