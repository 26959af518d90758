package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// placeRenamed places an export into a schema of another name. It restores the definitions of the
// export into a new database of a throw-away server, as Rehearse does, renames the schema there, and
// feeds the target from a pg_dump of it. The rows go from the export to the target. If a column holds
// names of objects, such as regclass, the throw-away server gets the rows too, and pg_dump writes them.
// f is the placement's feed; found is the evidence of the whole export.
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
	report := func(n int64) { progress(Progress{Renaming, n, total}) }
	moved, err := r.rename(ctx, f.export, on, found, pl, true, report)
	if err != nil {
		return err
	}
	defer func() { moved.drop(ctx) }()
	if moved.names && !pl.dry {
		moved.drop(ctx)
		full, err := r.rename(ctx, f.export, on, found, pl, false, report)
		if err != nil {
			return err
		}
		moved = full
	}
	pl.leftOut = append(pl.leftOut, moved.leftOut...)
	if len(pl.leftOut) > 0 && !pl.placement.LeaveOut && !pl.dry {
		return &LeftOutError{Objects: pl.leftOut}
	}
	pl.formerly, pl.want = moved.from, moved.contents
	renamed := moved.artifact
	f.export.Manifest.Artifact = &renamed
	f.first.Contents = moved.left(f.first.Contents)
	switch {
	case pl.dry:
		pl.moved = moved
		s := &steps{feed: f, conn: f.at.Conn.PgConn()}
		err := moved.feedSection(ctx, s, preData)
		if err == nil {
			err = pl.end(ctx, s)
		}
		return err
	case moved.shape:
		pl.moved = moved
		return f.run(ctx)
	}
	return moved.dump(ctx, "", func(out io.Reader, whole func(error) error) error { return f.placeScript(ctx, out, whole) })
}

// renaming is a database of the throw-away server that holds the export in the renamed schema.
type renaming struct {
	restorer *Restorer
	on       Scratch
	database string
	from, to string // names of the schema
	shape    bool   // it holds no rows
	names    bool   // its columns can hold names of objects, which change with the schema
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
// statement by statement; what is refused then is left out and listed. With shape no rows are restored.
func (r *Restorer) rename(ctx context.Context, x Export, on Scratch, found Evidence, pl *placing, shape bool, progress func(int64)) (*renaming, error) {
	m, err := r.renameOnce(ctx, x, on, found, pl, shape, false, progress)
	if _, refused := errors.AsType[*RejectedError](err); refused {
		return r.renameOnce(ctx, x, on, found, pl, shape, true, progress)
	}
	return m, err
}

func (r *Restorer) renameOnce(ctx context.Context, x Export, on Scratch, found Evidence, pl *placing, shape, forgive bool, progress func(int64)) (_ *renaming, err error) {
	a := *x.Manifest.Artifact
	scratch, database, err := create(ctx, on.Server, a.Needs)
	if err != nil {
		return nil, err
	}
	m := &renaming{
		restorer: r, on: on, database: database, from: pl.placement.chosenSchemas(a)[0], to: pl.placement.Schema, shape: shape, artifact: a,
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
		return m.lookAtTables(ctx, ses.Conn, found)
	}
	return pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
		var tables []export.Table
		for _, t := range slices.SortedFunc(maps.Keys(found.Contents.Tables), compareTables) {
			if t.Schema == m.from && !slices.Contains(m.unfilled, t) {
				tables = append(tables, export.Table{Schema: m.to, Name: t.Name})
			}
		}
		m.contents, _, err = readContents(ctx, tx.Conn(), ses.Major(), tables, plainly)
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

// namesSQL tells whether a column in schema $1 has a type of names of objects, also within another type.
const namesSQL = `
WITH RECURSIVE types (oid) AS (
  SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  UNION
  SELECT x.oid FROM types JOIN pg_type t ON t.oid = types.oid CROSS JOIN LATERAL (
    SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
    UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
  ) x (oid) WHERE x.oid <> 0
)
SELECT EXISTS (SELECT FROM types JOIN pg_type t ON t.oid = types.oid JOIN pg_namespace n ON n.oid = t.typnamespace
                WHERE n.nspname = 'pg_catalog' AND t.typname LIKE 'reg%')`

// lookAtTables finds the tables that could not be made, and columns that hold names.
func (m *renaming) lookAtTables(ctx context.Context, conn *pgx.Conn, found Evidence) error {
	err := conn.QueryRow(ctx, namesSQL, m.to).Scan(&m.names)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	made, err := strs(ctx, conn, "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')", m.to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	there := map[string]bool{}
	for _, name := range made {
		there[name] = true
	}
	for _, t := range slices.SortedFunc(maps.Keys(found.Contents.Tables), compareTables) {
		if t.Schema == m.from && !there[t.Name] {
			m.unfilled = append(m.unfilled, t)
			m.leftOut = append(m.leftOut, fmt.Sprintf("the rows of table %s: %s", identifier(t), needsUnchecked))
		}
	}
	return nil
}
