package restore

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// setTimeout is the statement that pg_dump and pg_restore with pgversion.TransactionTimeout write at
// the beginning of a script, for every version of the server.
const setTimeout = "SET transaction_timeout = 0;"

// direct refuses several connections if pg_restore, which then talks to the server itself, would use
// a setting that the server lacks, store bytes without a check of their encoding, or attach
// partitions too early.
func (r *Restorer) direct(a export.Artifact, at *place) error {
	if at.encoding == utf8Name {
		return fmt.Errorf("%w: the export has no encoding, and pg_restore would store unchecked bytes in this database of UTF8: restore without jobs", ErrJobs)
	}
	if len(a.Needs.Parents) > 0 {
		return fmt.Errorf("%w: partitions of tables in other schemas must be attached last, which pg_restore does not do: restore without jobs", ErrJobs)
	}
	major := at.Major()
	tool, err := chooseRestore(r.pgr, a)
	if err != nil || !pgversion.Has(tool.Major, pgversion.TransactionTimeout) || pgversion.Has(major, pgversion.TransactionTimeout) {
		return err
	}
	return fmt.Errorf("%w: pg_restore %s sets transaction_timeout, which PostgreSQL %d does not have: restore without jobs", ErrJobs, tool.Text, major)
}
