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

// Target is the database into which an export is restored, and the options.
type Target struct {
	Source *libpq.Source
	// Clean drops all objects of the export's schemas, in the restore's transaction. Extensions stay,
	// and so do the schemas with their rights. If an object outside depends on one inside, the
	// restore fails with a *DependentsError and drops nothing. Without Clean, a schema with objects
	// other than extensions is ErrOccupied.
	Clean bool
	// CreateExtensions creates the extensions that the export needs and the target lacks, in their
	// schemas, if the server has them. The login needs the right to.
	CreateExtensions bool
	// Jobs is how many connections pg_restore uses, for a custom or directory archive. 0: one
	// transaction on one connection. With Jobs there is no transaction: an error leaves the target
	// with part of the export (ErrPartial). So the schemas must be missing or empty, and Clean is
	// ErrJobs. The whole dump is unpacked into SpoolDir first. pg_restore 17 and newer cannot feed
	// an older server (ErrJobs).
	Jobs int
	// KeepGoing rolls back only the statement that the target refuses, and continues. It does not
	// continue after an error of the server's state, such as a full disk. An *IncompleteError lists
	// what was left out. Not with Jobs (ErrJobs).
	KeepGoing bool
	// NoTransaction commits each statement alone, which needs few locks at a time. An error leaves
	// the target with part of the export (ErrPartial). So the schemas must be empty, and Clean and
	// Jobs are ErrSteps. The whole dump is unpacked into SpoolDir first.
	NoTransaction bool

	trial   *trial   // nil: not a rehearsal
	placing *placing // nil: not a placement
	shape   bool     // no rows are restored
}

// check returns an error for contradicting options.
func (t Target) check(f export.Format) error {
	switch {
	case t.NoTransaction && t.Clean:
		return fmt.Errorf("%w: nothing is dropped without a transaction", ErrSteps)
	case t.Jobs > 0 && (t.KeepGoing || t.NoTransaction):
		return fmt.Errorf("%w: with several connections pg_restore feeds the target, without a transaction, and stops at the first error", ErrJobs)
	case t.Jobs < 0:
		return fmt.Errorf("%w: %d is negative", ErrJobs, t.Jobs)
	case t.Jobs == 0:
		return nil
	case t.Clean:
		return fmt.Errorf("%w: several connections restore without a transaction, so nothing can be dropped first", ErrJobs)
	case f != export.Custom && f != export.Directory:
		return fmt.Errorf("%w: an export of format %s can only be read from its beginning to its end", ErrJobs, f)
	}
	return nil
}

// place is a target after its check.
type place struct {
	*libpq.Session
	source *libpq.Source
	kept   []string // the export's schemas that exist already
	// prelude clears the schemas and creates extensions, in the script's transaction.
	prelude []string
	missing []string // in words: what the export needs and the target lacks
	// encoding is that of the database, if the export has none.
	encoding string
	options  string // for psql's session
}

// look connects to the target and checks whether the schemas may be restored there.
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
	// With this setting (PostgreSQL 14 and later) the server ends a long statement after psql was
	// killed.
	if _, err := ses.Conn.Exec(ctx, "SET client_connection_check_interval = 500"); err == nil {
		p.options = "-c client_connection_check_interval=500"
	}
	return p, nil
}

// outOfLocks returns ErrLocks with the size of the lock table that would be enough. The transaction
// holds a lock on each table, index and sequence until its end.
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
	return fmt.Errorf("%w: max_locks_per_transaction is %d, and %d is enough for %d tables of up to %d relations each: %w",
		ErrLocks, locks, enough, len(e.Contents.Tables), eachTable, cause)
}

// transient reports whether an SQLSTATE is about the state of the server and not about the statement:
// connection, transaction rollback, resources, operator intervention, system, damage of its own files.
func transient(state string) bool {
	return slices.ContainsFunc([]string{"08", "25P", "40", "53", "55P03", "57", "58", "XX001", "XX002"}, func(class string) bool {
		return strings.HasPrefix(state, class)
	})
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
