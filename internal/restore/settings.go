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
// would set what the server does not know.
func (r *Restorer) direct(a export.Artifact, major int) error {
	tool, err := chooseRestore(r.pgr, a)
	if err != nil || !pgversion.Has(tool.Major, pgversion.TransactionTimeout) || pgversion.Has(major, pgversion.TransactionTimeout) {
		return err
	}
	return fmt.Errorf("%w: pg_restore %s sets transaction_timeout, which PostgreSQL %d does not know: restore without jobs", ErrJobs, tool.Text, major)
}
