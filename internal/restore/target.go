package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// Target is where an export goes.
type Target struct {
	Source *libpq.Source
	// Clean drops all that the export's schemas hold, in the restore's own transaction. Objects
	// outside of them stay: if anything there depends on what would be dropped, the restore fails
	// with a *DependentsError and drops nothing. Extensions and the schemas themselves stay too,
	// the latter with their rights. Without Clean a schema that holds anything but extensions is
	// ErrOccupied.
	Clean bool
	// CreateExtensions makes the extensions that the export needs and the target lacks, in the
	// schemas that they had, as far as the server has them. It needs the right to do so.
	CreateExtensions bool
	// Jobs is how many connections pg_restore uses, for a custom or directory archive. It
	// gives up the one transaction: what goes wrong leaves the target with part of the export
	// (ErrPartial), so the schemas must be missing or empty, and Clean is ErrJobs. The whole
	// dump is unpacked into SpoolDir first. pg_restore 17 and newer cannot feed an older server
	// so (ErrJobs). 0: one transaction.
	Jobs int
	// KeepGoing rolls back a statement that the target refuses, alone, and goes on, unless it is
	// refused for the server's condition. An *IncompleteError lists what was left out. Not with
	// Jobs (ErrJobs).
	KeepGoing bool
	// NoTransaction executes each statement by itself, which needs few locks at a time. An error
	// leaves the target with part of the export (ErrPartial). So the schemas must hold nothing, and
	// Clean and Jobs are ErrSteps. The whole dump is unpacked into SpoolDir first.
	NoTransaction bool

	trial *trial // nil: no rehearsal
}

// check refuses options that contradict each other.
func (t Target) check(f export.Format) error {
	switch {
	case t.NoTransaction && t.Clean:
		return fmt.Errorf("%w: nothing is dropped without a transaction", ErrSteps)
	case t.Jobs > 0 && (t.KeepGoing || t.NoTransaction):
		return fmt.Errorf("%w: with several connections pg_restore feeds the target itself, without a transaction and up to the first error", ErrJobs)
	case t.Jobs < 0:
		return fmt.Errorf("%w: %d is negative", ErrJobs, t.Jobs)
	case t.Jobs == 0:
		return nil
	case t.Clean:
		return fmt.Errorf("%w: they restore without a transaction, so nothing is dropped for them", ErrJobs)
	case f != export.Custom && f != export.Directory:
		return fmt.Errorf("%w: an export of format %s can only be read from its beginning to its end", ErrJobs, f)
	}
	return nil
}

// place is a target that was looked at.
type place struct {
	*libpq.Session
	source *libpq.Source
	kept   []string // the export's schemas that are there already
	// prelude makes room in the schemas, and extensions; it is part of the script's
	// transaction.
	prelude []string
	missing []string // in words: what the export needs and the target lacks
	// encoding is the database's, if the export has none.
	encoding string
	options  string // for psql's session
}

// look connects to the target and sees whether the schemas may be restored there.
func (t Target) look(ctx context.Context, a export.Artifact) (*place, error) {
	ses, err := t.Source.Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	p := &place{Session: ses, source: t.Source}
	if err = p.prepare(ctx, a.Schemas, t.Clean); err == nil {
		err = p.need(ctx, a, t.CreateExtensions)
	}
	if err != nil {
		ses.Close()
		return nil, err
	}
	// A server that looks after its client stops a long statement when psql was killed.
	if _, err := ses.Conn.Exec(ctx, "SET client_connection_check_interval = 500"); err == nil {
		p.options = "-c client_connection_check_interval=500"
	}
	return p, nil
}

// outOfLocks says what a lock table that is too small means, and what size would do. There is
// a lock on each table, index and sequence until the transaction ends.
func (p *place) outOfLocks(ctx context.Context, e Evidence, cause error) error {
	const eachTable = 10 // itself, TOAST with its index, a sequence, and some indexes
	var locks, slots int
	ses, err := p.source.Connect(ctx, map[string]string{"application_name": application})
	if err == nil {
		defer ses.Close()
		err = ses.Conn.QueryRow(ctx, `SELECT current_setting('max_locks_per_transaction')::int,
			current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int`).Scan(&locks, &slots)
	}
	if err != nil || slots == 0 {
		return fmt.Errorf("%w: %w", ErrLocks, cause)
	}
	enough := max(2*locks, (eachTable*len(e.Contents.Tables)/slots+64)/64*64)
	return fmt.Errorf("%w: max_locks_per_transaction is %d, and %d would do for %d tables of up to %d relations each: %w",
		ErrLocks, locks, enough, len(e.Contents.Tables), eachTable, cause)
}

// transient says whether an SQLSTATE speaks of the server's condition and not of the
// statement: connection, transaction rollback, resources, operator's intervention, system.
func transient(state string) bool {
	return slices.ContainsFunc([]string{"08", "25P", "40", "53", "55P03", "57", "58"}, func(class string) bool {
		return strings.HasPrefix(state, class)
	})
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
