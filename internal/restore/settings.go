package restore

import (
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
)

// timeoutSince is the first version whose server knows transaction_timeout. pg_dump and
// pg_restore of that version and later set it, whatever the server's version is.
const (
	timeoutSince = 17
	setTimeout   = "SET transaction_timeout = 0;"
)

// direct refuses several connections where pg_restore, which then talks to the server itself,
// would set what the server does not know.
func (r *Restorer) direct(a export.Artifact, major int) error {
	tool, err := chooseRestore(r.pgr, a)
	if err != nil || tool.Major < timeoutSince || major >= timeoutSince {
		return err
	}
	return fmt.Errorf("%w: pg_restore %s sets transaction_timeout, which PostgreSQL %d does not know: restore without jobs", ErrJobs, tool.Text, major)
}
