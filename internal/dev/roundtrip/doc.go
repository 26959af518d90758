// Package roundtrip holds the proof that an export is its source: every format with every
// compression through every storage, from a database with one of each kind of object that
// a schema dump carries, restored and compared, and each PostgreSQL server with each set of
// client tools at hand. Random schemas (internal/dev/randomschema) are compared with plain pg_dump.
// It has tests only.
package roundtrip
