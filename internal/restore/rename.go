package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// placeRenamed places an export into a schema of another name. It restores the export into a new
// database of a throw-away server, as Rehearse does, renames the schema there, and feeds the target
// from a pg_dump of it. For a plan no rows are restored. f is the placement's feed; found is the
// evidence of the whole export.
func (r *Restorer) placeRenamed(ctx context.Context, f *feed, found Evidence, progress func(Progress)) error {
	pl := f.target.placing
	if r.config.Scratch == nil {
		return fmt.Errorf("%w: a schema of another name needs a throw-away server", ErrPlacement)
	}
	on, err := r.config.Scratch(ctx, len(found.Contents.Tables))
	if err != nil {
		return fmt.Errorf("%w: the throw-away server: %w", ErrScratch, err)
	}
	total := f.export.Manifest.Artifact.StoredBytes
	moved, err := r.rename(ctx, f.export, on, found, pl, func(n int64) { progress(Progress{Renaming, n, total}) })
	if err != nil {
		return err
	}
	defer moved.drop(ctx)
	pl.leftOut = append(pl.leftOut, moved.leftOut...)
	if len(pl.leftOut) > 0 && !pl.placement.LeaveOut && !pl.dry {
		return &LeftOutError{Objects: pl.leftOut}
	}
	pl.formerly, pl.want = moved.from, moved.contents
	renamed := moved.artifact
	f.export.Manifest.Artifact = &renamed
	f.first.Contents = moved.left(f.first.Contents)
	return r.feedDump(ctx, f, moved)
}

// renaming is a database of the throw-away server that holds the export in the renamed schema.
type renaming struct {
	restorer *Restorer
	on       Scratch
	database string
	from, to string // names of the schema
	shape    bool   // it holds no rows
	artifact export.Artifact
	contents []TableContent // of the renamed tables; nil: no rows
	leftOut  []string
	unfilled []export.Table // of the export: without their rows
}

// left returns the contents in the renamed schema, without the tables that could not be made.
func (m *renaming) left(c export.Contents) export.Contents {
	out := export.Contents{Tables: map[export.Table]int64{}}
	for t, rows := range c.Tables {
		if t.Schema == m.from && !slices.Contains(m.unfilled, t) {
			out.Tables[export.Table{Schema: m.to, Name: t.Name}] = rows
		}
	}
	return out
}

func (m *renaming) drop(ctx context.Context) {
	if err := m.on.drop(ctx, m.database); err != nil {
		m.restorer.config.Logger.WarnContext(ctx, "scratch database not dropped", "database", m.database, "error", err)
	}
}

// rename restores the export into a new database and renames its schema. A refusal is tried again
// statement by statement; what is refused then is left out and listed.
func (r *Restorer) rename(ctx context.Context, x Export, on Scratch, found Evidence, pl *placing, progress func(int64)) (*renaming, error) {
	for _, forgive := range []bool{pl.dry, true} {
		m, err := r.renameOnce(ctx, x, on, found, pl, forgive, progress)
		if _, refused := errors.AsType[*RejectedError](err); !refused || forgive {
			return m, err
		}
	}
	return nil, nil //nolint:nilnil // the second round returns
}

func (r *Restorer) renameOnce(ctx context.Context, x Export, on Scratch, found Evidence, pl *placing, forgive bool, progress func(int64)) (_ *renaming, err error) {
	a := *x.Manifest.Artifact
	scratch, database, err := create(ctx, on.Server, a.Needs)
	if err != nil {
		return nil, err
	}
	m := &renaming{
		restorer: r, on: on, database: database, from: pl.placement.chosenSchemas(a)[0], to: pl.placement.Schema, shape: pl.dry, artifact: a,
	}
	defer func() {
		if err != nil {
			m.drop(ctx)
		}
	}()
	if err := on.furnish(ctx, database, a.Needs); err != nil {
		return nil, err
	}
	to := Target{Source: scratch, shape: m.shape}
	if forgive {
		var stop func()
		if to.trial, stop, err = on.trial(ctx, database, a.Needs); err != nil {
			return nil, err
		}
		defer stop()
		to.NoTransaction = true
	}
	at, err := to.look(ctx, a)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	f := &feed{restorer: r, export: x, first: found, at: at, target: to, progress: progress}
	if err := f.run(ctx); err != nil {
		return nil, err
	}
	if forgive {
		m.leftOut, m.unfilled = to.trial.unchecked, to.trial.uncounted
	}
	return m, m.renameIn(ctx, found)
}

// renameIn renames the schema and reads what the dump does not hold: the contents, and the objects that
// PUBLIC may not use.
func (m *renaming) renameIn(ctx context.Context, found Evidence) error {
	by := m.on.Server
	if m.on.Admin != nil { // the schema public belongs to a superuser on servers before 15
		by = m.on.Admin
	}
	admin, err := open(ctx, by.WithDatabase(m.database))
	if err != nil {
		return err
	}
	_, err = admin.Conn.Exec(ctx, fmt.Sprintf("ALTER SCHEMA %s RENAME TO %s", quoted(m.from), quoted(m.to)))
	admin.Close()
	if err != nil {
		return fmt.Errorf("%w: rename the schema on the throw-away server: %w", ErrScratch, err)
	}
	ses, err := open(ctx, m.on.Server.WithDatabase(m.database))
	if err != nil {
		return err
	}
	defer ses.Close()
	a := &m.artifact
	private, err := strs(ctx, ses.Conn, privateNamesSQL, m.to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	for _, c := range a.Needs.Casts {
		m.leftOut = append(m.leftOut, headline(c.String())+": a cast does not follow into another schema")
	}
	a.Schemas = []string{m.to}
	a.Needs.Private, a.Needs.Casts = private, nil
	a.Needs.Extensions = renameExtensions(a.Needs.Extensions, m.from, m.to)
	if m.shape {
		return nil
	}
	return pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
		var tables []export.Table
		for _, t := range slices.SortedFunc(maps.Keys(found.Contents.Tables), compareTables) {
			if t.Schema == m.from && !slices.Contains(m.unfilled, t) {
				tables = append(tables, export.Table{Schema: m.to, Name: t.Name})
			}
		}
		m.contents, _, err = readContents(ctx, tx.Conn(), ses.Major(), tables)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrScratch, err)
		}
		return nil
	})
}

// privateNamesSQL selects the routines and types of schema $1 that PUBLIC may not use, in the form of
// export.Needs.Private.
const privateNamesSQL = `
SELECT 'ROUTINE ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = $1 AND p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)
UNION ALL
SELECT 'TYPE ' || t.oid::regtype FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname = $1 AND t.typacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(t.typacl) a WHERE a.grantee = 0)
 ORDER BY 1`

// renameExtensions returns the extensions with those of one schema in another.
func renameExtensions(all []export.Extension, from, to string) []export.Extension {
	out := slices.Clone(all)
	for i := range out {
		if out[i].Schema == from {
			out[i].Schema = to
		}
	}
	return out
}

// feedDump feeds the target from a pg_dump of the renamed schema. COMMIT follows only after pg_dump has
// exited with 0.
func (r *Restorer) feedDump(ctx context.Context, f *feed, m *renaming) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends pg_dump
	ses, err := open(ctx, m.on.Server.WithDatabase(m.database))
	if err != nil {
		return err
	}
	defer ses.Close()
	tool, err := r.chooseDump(ses.Major())
	if err != nil {
		return err
	}
	out, w, err := libpq.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // read end: nothing is lost
	process, err := libpq.StartProcess(libpq.Command{
		Path: tool.Path, Password: ses.Password, Stdout: w, Args: m.dumpArguments(),
		Env:  m.on.Server.WithDatabase(m.database).Environment(ses.At, ses.Address, application, ""),
		Wrap: r.wrap(Reach{Server: &ses.At}),
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { process.Terminate(r.config.KillDelay) })
	defer func() {
		if stop() {
			process.Terminate(r.config.KillDelay)
		}
		_ = process.Wait() // the verdict has its error
	}()
	return f.placeScript(ctx, out, func(feeding error) error {
		if feeding != nil {
			process.Terminate(r.config.KillDelay)
			if errors.Is(feeding, errSink) {
				return nil
			}
		} else if _, err := io.Copy(io.Discard, out); err != nil {
			feeding = err
		}
		if exit := process.Wait(); exit != nil && feeding == nil {
			feeding = fmt.Errorf("%w: pg_dump: %w: %s", ErrScratch, exit, strings.TrimSpace(process.Stderr()))
		}
		return feeding
	})
}

func (m *renaming) dumpArguments() []string {
	args := []string{
		"--format=plain", "--no-owner", "--no-acl", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--strict-names", "--no-password",
		`--schema="` + strings.ReplaceAll(m.to, `"`, `""`) + `"`,
	}
	if m.artifact.Needs.Encoding == "" {
		args = append(args, "--encoding=UTF8")
	}
	if m.shape {
		args = append(args, "--schema-only")
	}
	return args
}

// chooseDump returns the oldest pg_dump that can read a server: a newer one writes settings that an
// older target refuses.
func (r *Restorer) chooseDump(major int) (libpq.Version, error) {
	dirs := r.config.BinDirs
	if len(dirs) == 0 {
		dirs = libpq.BinDirs("pg_dump")
	}
	for _, v := range libpq.Discover("pg_dump", dirs) {
		if v.Major >= major {
			return v, nil
		}
	}
	return libpq.Version{}, fmt.Errorf("%w: no pg_dump for the throw-away server of PostgreSQL %d", ErrTool, major)
}
