package restore

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// setTimeout is what pg_dump and pg_restore with pgversion.TransactionTimeout write at the
// beginning of a script, whatever the server's version is.
const setTimeout = "SET transaction_timeout = 0;"

// direct refuses several connections where pg_restore, which then talks to the server itself,
// would set what the server does not know, let it take bytes without a look at them, or attach
// partitions too early.
func (r *Restorer) direct(a export.Artifact, at *place) error {
	if at.encoding == utf8 {
		return fmt.Errorf("%w: the export has no encoding, and pg_restore would let this database of UTF8 take any bytes: restore without jobs", ErrJobs)
	}
	if len(a.Needs.Parents) > 0 {
		return fmt.Errorf("%w: partitions of tables in other schemas are attached after all else, which pg_restore does not: restore without jobs", ErrJobs)
	}
	major := at.Major()
	tool, err := chooseRestore(r.pgr, a)
	if err != nil || !pgversion.Has(tool.Major, pgversion.TransactionTimeout) || pgversion.Has(major, pgversion.TransactionTimeout) {
		return err
	}
	return fmt.Errorf("%w: pg_restore %s sets transaction_timeout, which PostgreSQL %d does not know: restore without jobs", ErrJobs, tool.Text, major)
}
