// Package roundtrip shows that an export equals its source: every format with every compression
// through every storage, from a database with one of each kind of object in a schema dump, restored
// and compared, and each PostgreSQL server with each installed set of client tools. Random schemas
// (internal/dev/randomschema) are compared with plain pg_dump. It has tests only.
package roundtrip
