package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// Scratch is a server for rehearsals.
type Scratch struct {
	Server *libpq.Source // with the right to create databases
	// Admin is a superuser's login on the same server, if that is temporary. It creates the
	// extensions and roles that the export needs, and runs no statement of the export but those
	// that trial describes. nil: Server's login creates the extensions that it may.
	Admin *libpq.Source
}

// Rehearse restores the export into a new database on a server (a copy of template1), counts every
// table and drops the database. Before the restore it creates the extensions that the export needs,
// in their schemas, if the server has them.
//
// A refusal because the login lacks a right, or because an object is missing there, proves nothing
// about the export. Rehearse then unpacks the whole export in SpoolDir and restores it again,
// statement by statement. Result.Unchecked lists what could not be tried.
//
// Errors are those of Restore. A *RejectedError means that the export is complete and this server
// refuses it, in both restores.
func (r *Restorer) Rehearse(ctx context.Context, x Export, on Scratch, progress func(Progress)) (Result, error) {
	out, err := r.rehearse(ctx, x, on, false, progress)
	rejected, ok := errors.AsType[*RejectedError](err)
	if !ok {
		return out, err
	}
	if out, err = r.rehearse(ctx, x, on, true, progress); err == nil {
		return out, nil
	}
	if again, ok := errors.AsType[*RejectedError](err); ok {
		return Result{}, again
	}
	if errors.Is(err, ErrUnverified) {
		return Result{}, err
	}
	// The first refusal proves nothing without the second restore.
	return Result{}, fmt.Errorf("restore statement by statement after the refusal with SQLSTATE %q: %w", rejected.SQLState, err)
}

// rehearse restores once.
func (r *Restorer) rehearse(ctx context.Context, x Export, on Scratch, forgive bool, progress func(Progress)) (out Result, err error) {
	var needs export.Needs
	if a := x.Manifest.Artifact; a != nil {
		needs = a.Needs
	}
	scratch, name, err := create(ctx, on.Server, needs)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		// A failure proves nothing about the export: a temporary server ends soon, and on another one
		// dropOld tries again.
		if fault := on.drop(ctx, name); fault != nil {
			r.config.Logger.WarnContext(ctx, "scratch database not dropped", "database", name, "error", fault)
		}
	}()
	if err := on.furnish(ctx, name, needs); err != nil {
		return Result{}, err
	}
	to := Target{Source: scratch}
	if forgive {
		var stop func()
		if to.trial, stop, err = on.trial(ctx, name, needs); err != nil {
			return Result{}, err
		}
		defer stop()
		to.NoTransaction = true
	}
	if out, err = r.Restore(ctx, x, to, progress); err != nil {
		return Result{}, err
	}
	if forgive {
		out.Unchecked, out.Uncounted = to.trial.unchecked, to.trial.uncounted
		return out, nil
	}
	return out, out.Evidence.countForced(ctx, scratch, x.Manifest.Artifact.Schemas)
}

// trial begins a trial in a scratch database. The caller calls stop.
func (s Scratch) trial(ctx context.Context, database string, needs export.Needs) (t *trial, stop func(), err error) {
	t = &trial{
		login: s.Server.User(), unfilled: map[export.Table]bool{},
		lacks: len(needs.Objects)+len(needs.Parents)+len(needs.Extensions)+len(needs.Roles) > 0,
	}
	if s.Admin == nil {
		return t, func() {}, nil
	}
	t.admin, err = s.Admin.WithDatabase(database).Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	return t, t.admin.Close, nil
}

// furnish creates the extensions and roles that an export needs in a scratch database. A failure is
// ignored: the restore shows whether the object was needed.
func (s Scratch) furnish(ctx context.Context, database string, needs export.Needs) error {
	if len(needs.Extensions)+len(needs.Roles) == 0 {
		return nil
	}
	by, owner := s.Server, ""
	if s.Admin != nil {
		by, owner = s.Admin, s.Server.User()
	}
	ses, err := by.WithDatabase(database).Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	defer ses.Close()
	found, err := extensions(ctx, ses, needs.Extensions)
	if err != nil {
		return err
	}
	var statements []string
	for _, e := range found {
		statements = append(statements, e.creation(owner)...)
	}
	if s.Admin != nil {
		for _, role := range needs.Roles {
			statements = append(statements, "CREATE ROLE "+quoted(role)) // may exist from an earlier export
		}
	}
	for _, statement := range statements {
		if _, err := ses.Conn.Exec(ctx, statement); err != nil && (ctx.Err() != nil || ses.Conn.IsClosed()) {
			return fmt.Errorf("%w: %w", ErrTarget, err)
		}
	}
	return nil
}

const (
	scratchPrefix = "pgcourier_scratch_"
	// scratchLife is the age from which a scratch database counts as left behind. It must be longer
	// than any rehearsal.
	scratchLife = 48 * time.Hour
	// dropWait bounds the removal of a scratch database, which runs also after the end of ctx.
	dropWait = time.Minute
)

// create drops the scratch databases of killed processes and creates a new one.
func create(ctx context.Context, server *libpq.Source, needs export.Needs) (scratch *libpq.Source, name string, err error) {
	ses, err := server.Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrTarget, err)
	}
	defer ses.Close()
	name = scratchPrefix + time.Now().UTC().Format("20060102t150405") + "_" + strings.ToLower(rand.Text()[:10])
	command := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if needs.Encoding != "" {
		command += " TEMPLATE template0 ENCODING '" + strings.ReplaceAll(needs.Encoding, "'", "''") + "' LC_COLLATE 'C' LC_CTYPE 'C'"
	}
	if _, err := ses.Conn.Exec(ctx, command); err != nil {
		return nil, "", fmt.Errorf("%w: create a scratch database: %w", ErrTarget, err)
	}
	dropOld(ctx, ses)
	return server.WithDatabase(name), name, nil
}

// drop drops a scratch database. On a temporary server a superuser does it, which may end any backend.
func (s Scratch) drop(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWait)
	defer cancel()
	by := s.Server
	if s.Admin != nil {
		by = s.Admin
	}
	ses, err := by.Connect(ctx, map[string]string{"application_name": application})
	if err != nil {
		return err
	}
	defer ses.Close()
	return dropDatabase(ctx, ses, name)
}

// dropOld drops old scratch databases and ignores errors: the next process tries again.
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

// dropDatabase drops a scratch database. FORCE ends the backend of a killed psql, which may still
// run. The server refuses FORCE while a superuser's backend is ending, as after the creation of
// extensions. Without FORCE the server waits up to 5 s for it.
func dropDatabase(ctx context.Context, ses *libpq.Session, name string) error {
	drop := "DROP DATABASE IF EXISTS " + pgx.Identifier{name}.Sanitize()
	if pgversion.Has(ses.Major(), pgversion.DropForce) {
		_, err := ses.Conn.Exec(ctx, drop+" WITH (FORCE)")
		const refused = "42501" // insufficient_privilege
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != refused {
			return err
		}
	}
	_, err := ses.Conn.Exec(ctx, drop)
	return err
}

// countForced counts the tables that the restore could not count: those with policies that are forced
// on their owner, which is this login.
func (e Evidence) countForced(ctx context.Context, scratch *libpq.Source, schemas []string) error {
	// With off, a policy that hides rows is an error and never a smaller count.
	ses, err := scratch.Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog", "row_security": "off"})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	defer ses.Close()
	n, err := unforce(ctx, ses.Conn, schemas)
	if err != nil || n == 0 {
		return err
	}
	return e.countIn(ctx, directly(ses.Conn.PgConn()))
}

// unforce lets the owner read tables with forced policies, and returns their number.
func unforce(ctx context.Context, conn *pgx.Conn, schemas []string) (int, error) {
	rows, err := conn.Query(ctx, `
SELECT pg_catalog.format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY ($1::text[]::name[]) AND c.relforcerowsecurity`, pgx.QueryExecModeExec, schemas)
	if err != nil {
		return 0, fmt.Errorf("%w: look for forced policies: %w", ErrTarget, err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("%w: look for forced policies: %w", ErrTarget, err)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrTarget, err)
		}
	}
	return len(statements), nil
}

// directly returns a function that executes a statement.
func directly(conn *pgconn.PgConn) func(context.Context, string) error {
	return func(ctx context.Context, statement string) error {
		_, err := conn.Exec(ctx, statement).ReadAll()
		return err
	}
}

// countIn compares the rows of every table in a database with the export.
func (e Evidence) countIn(ctx context.Context, run func(context.Context, string) error) error {
	statements := append([]string{"SET row_security = off"}, counts(e.Contents, countApart)...)
	var err error
	for _, statement := range statements {
		if err = run(ctx, statement); err != nil {
			break
		}
	}
	_, rejected := errors.AsType[*RejectedError](err)
	switch {
	case rejected:
		return err
	case sqlState(err) == insufficientPrivilege: // of this login
		return fmt.Errorf("%w: count: %w", ErrTarget, err)
	case sqlState(err) == wrongCount, strings.HasPrefix(sqlState(err), "42"), sqlState(err) == invalidSchemaName:
		return unverified("after the restore: %w", err)
	case err != nil:
		return fmt.Errorf("%w: count: %w", ErrTarget, err)
	}
	return nil
}
