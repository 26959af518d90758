package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// Rehearse restores the export into a new database on a server and counts every table
// there, then drops the database. The login needs the right to create databases; the
// database is a copy of template1, where the extensions belong that exports rely on.
//
// Errors are those of Restore, a *RejectedError among them: the export is as it was dumped,
// but this server does not take it.
func (r *Restorer) Rehearse(ctx context.Context, x Export, server *libpq.Source, progress func(Progress)) (out Result, err error) {
	scratch, drop, err := create(ctx, server)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	if out, err = r.Restore(ctx, x, Target{Source: scratch}, progress); err != nil {
		return Result{}, err
	}
	// Off: rows that a policy hides must be an error, never a smaller count.
	ses, err := scratch.Connect(ctx, map[string]string{"application_name": application, "row_security": "off"})
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	defer ses.Close()
	return out, out.Evidence.count(ctx, ses)
}

const (
	scratchPrefix = "pgcourier_scratch_"
	// scratchLife is when a database of an earlier process is taken for left behind: it is
	// longer than any rehearsal.
	scratchLife = 48 * time.Hour
	// dropWait bounds the removal of a scratch database, also when ctx has ended.
	dropWait = time.Minute
)

// create makes a scratch database, after dropping what processes that were killed have left.
func create(ctx context.Context, server *libpq.Source) (*libpq.Source, func() error, error) {
	ses, err := server.Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	defer ses.Close()
	name := scratchPrefix + time.Now().UTC().Format("20060102t150405") + "_" + strings.ToLower(rand.Text()[:10])
	if _, err := ses.Conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, nil, fmt.Errorf("%w: create a scratch database: %w", ErrTarget, err)
	}
	dropOld(ctx, ses)
	return server.WithDatabase(name), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWait)
		defer cancel()
		ses, err := server.Connect(ctx, map[string]string{"application_name": application})
		if err == nil {
			defer ses.Close()
			err = dropDatabase(ctx, ses, name)
		}
		if err != nil {
			return fmt.Errorf("%w: drop the scratch database %s: %w", ErrTarget, name, err)
		}
		return nil
	}, nil
}

// dropOld is an attempt: the next process tries again.
func dropOld(ctx context.Context, ses *libpq.Session) {
	oldest := scratchPrefix + time.Now().Add(-scratchLife).UTC().Format("20060102t150405")
	rows, err := ses.Conn.Query(ctx, `SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1) AND datname::text COLLATE "C" < $2`,
		pgx.QueryExecModeExec, scratchPrefix, oldest)
	if err != nil {
		return
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return
	}
	for _, name := range names {
		_ = dropDatabase(ctx, ses, name)
	}
}

func dropDatabase(ctx context.Context, ses *libpq.Session, name string) error {
	sql := "DROP DATABASE IF EXISTS " + pgx.Identifier{name}.Sanitize()
	if pgversion.Has(ses.Major(), pgversion.DropForce) {
		sql += " WITH (FORCE)" // a backend whose psql was killed may still be there
	}
	_, err := ses.Conn.Exec(ctx, sql)
	return err
}

// count holds each table of the export against a database that it was restored to.
func (e Evidence) count(ctx context.Context, ses *libpq.Session) error {
	for t, want := range e.Contents.Tables {
		var n int64
		count := func() error { return ses.Conn.QueryRow(ctx, "SELECT count(*) FROM ONLY "+identifier(t)).Scan(&n) }
		err := count()
		if sqlState(err) == "42501" {
			// The policies are forced upon the owner too, and the owner is this login.
			if _, err = ses.Conn.Exec(ctx, "ALTER TABLE "+identifier(t)+" NO FORCE ROW LEVEL SECURITY"); err == nil {
				err = count()
			}
		}
		switch {
		case sqlState(err) == "42P01" || sqlState(err) == "3F000":
			return unverified("table %s is missing after the restore", t)
		case err != nil:
			return fmt.Errorf("%w: count %s: %w", ErrTarget, t, err)
		case n != want:
			return unverified("table %s holds %d rows after the restore, the export %d", t, n, want)
		}
	}
	return nil
}
