package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// Plan verifies the export and says what Place would do. It changes nothing in the target. Its errors
// are those with which Place would refuse, except locks.
func (r *Restorer) Plan(ctx context.Context, x Export, p Placement, progress func(Progress)) (Plan, error) {
	pl, err := r.place(ctx, x, p, true, progress)
	if err != nil {
		return Plan{}, err
	}
	return pl.planned(), nil
}

// Place verifies the export, restores it in one transaction of the target with a marker for p.ID, and
// analyses the restored tables. It first ends the sessions of earlier attempts with this ID; if one of
// them has committed, Place returns what it placed. progress may be nil; it is called on the caller's
// goroutine and on one other, never concurrently.
//
// After an error the target is unchanged, except for ErrUnknown. Errors wrap ErrPlacement, ErrBusy,
// ErrInUse, ErrRefused, ErrForbidden, ErrMarkers, ErrUnknown or those of Restore, are a *LeftOutError, a
// *DependentsError or a *RejectedError, or are those of the export's reader.
func (r *Restorer) Place(ctx context.Context, x Export, p Placement, progress func(Progress)) (Placed, error) {
	pl, err := r.place(ctx, x, p, false, progress)
	if err != nil {
		return Placed{}, err
	}
	return *pl.placed, nil
}

// place plans, or places.
func (r *Restorer) place(ctx context.Context, x Export, p Placement, dry bool, progress func(Progress)) (*placing, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	a := x.Manifest.Artifact
	if a == nil {
		return nil, unverified("the manifest describes no export")
	}
	if err := p.check(*a); err != nil {
		return nil, err
	}
	pl := &placing{restorer: r, placement: p, dry: dry, schemas: p.targetSchemas(*a), source: *a}
	at, err := pl.look(ctx)
	if err != nil || pl.placed != nil {
		return pl, err
	}
	defer at.Close()
	found, err := x.Verify(ctx, func(n int64) { progress(Progress{Checking, n, a.StoredBytes}) })
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, r.config.Timeout, ErrTimeout)
	defer cancel()
	f := &feed{
		restorer: r, export: x, first: pl.part(found), at: at, target: Target{Source: p.Source, CreateExtensions: p.CreateExtensions, placing: pl},
		progress: func(n int64) { progress(Progress{Restoring, n, a.StoredBytes}) },
	}
	switch {
	case p.renames(*a):
		err = r.placeRenamed(ctx, f, found, progress)
	case dry && len(p.Tables) == 0:
		pl.tables, pl.rows = sortedTables(f.first.Contents), f.first.Contents.Rows()
	default:
		err = f.run(ctx)
	}
	switch {
	case pl.placed != nil: // committed, now or by an earlier attempt, whatever happened after that
		if pl.committed {
			pl.placed.Evidence, pl.placed.Took = found, time.Since(begun)
			pl.analyze(context.WithoutCancel(ctx), at)
		}
		return pl, nil
	case err != nil && ctx.Err() != nil && !errors.Is(err, ErrUnknown):
		return nil, context.Cause(ctx)
	}
	if rejected, ok := errors.AsType[*RejectedError](err); ok {
		rejected.Missing, rejected.Warnings = at.missing, a.Warnings
	}
	return pl, err
}

// placing is one run of place. A nil placing is a plain restore.
type placing struct {
	restorer  *Restorer
	placement Placement
	dry       bool     // only a plan
	schemas   []string // in the target
	source    export.Artifact

	at        *place
	olds      []old // moved aside
	selection *selection
	pending   []entry // definitions before the first rows
	tables    []export.Table
	rows      int64
	current   entry
	want      []TableContent // of the renamed export; nil: not known
	moved     *renaming      // where the definitions come from; nil: from the export
	formerly  string         // the schema's name before it was renamed
	still     []string
	leftOut   []string
	remarks   []string

	// late are the foreign keys to tables that are not restored. They lock those tables against writes
	// until the end of the transaction, so they are made last.
	late []string
	lent []string // schemas in which the owner may create tables until the end of the transaction

	confined *confined // executes the statements of the export
	apart    bool      // the owner is not the login
	codes    codes     // nil: to be read

	attempt int64 // the advisory lock that only this attempt takes
	backend int32 // the process of its session

	placed    *Placed
	committed bool // by this attempt
}

// look connects to the target, looks for a marker, and checks what can be checked without the export.
func (pl *placing) look(ctx context.Context) (*place, error) {
	p := pl.placement
	ses, err := p.Source.Connect(ctx, map[string]string{"application_name": p.application(), "search_path": "pg_catalog"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	at := &place{Session: ses, source: p.Source}
	pl.at = at
	if err := pl.inspect(ctx, at); err != nil || pl.placed != nil {
		ses.Close()
		return nil, ofTargetError(err, "look at the target")
	}
	// From version 14 on the server then ends a long statement after the end of this process.
	_, _ = ses.Conn.Exec(ctx, "SET client_connection_check_interval = 500")
	return at, nil
}

func (pl *placing) inspect(ctx context.Context, at *place) error {
	p := pl.placement
	var readOnly bool
	if err := at.Conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&readOnly); err != nil {
		return err
	}
	if readOnly && !pl.dry {
		return fmt.Errorf("%w: it is read-only", ErrTarget)
	}
	there, err := markers(ctx, at.Conn)
	if err != nil {
		return err
	}
	if there {
		if err := trustMarkers(ctx, at.Conn, p.Owner, false); err != nil {
			return err
		}
		placed, committed, err := readMarker(ctx, at.Conn, p.ID)
		if committed && !pl.dry {
			pl.placed = &placed
		}
		if err != nil || pl.placed != nil {
			return err
		}
	} else if !pl.dry {
		if err := makeMarkers(ctx, at.Conn); err != nil {
			return err
		}
	}
	if len(p.Tables) == 0 {
		if err := pl.findOld(ctx, nil); err != nil {
			return err
		}
	}
	if err := pl.rights(ctx); err != nil {
		return err
	}
	needed := pl.source
	needed.Schemas = pl.schemas
	if p.renames(pl.source) {
		needed.Needs.Extensions = renameExtensions(needed.Needs.Extensions, p.chosenSchemas(pl.source)[0], p.Schema)
	}
	if err := at.need(ctx, needed, p.CreateExtensions); err != nil {
		return err
	}
	if wrote := libpq.LeadingNumber(pl.source.PgDumpVersion); wrote > at.Major() && at.Major() > 0 {
		at.missing = append(at.missing, fmt.Sprintf("pg_dump %d wrote the export, the target runs PostgreSQL %d: it may refuse newer syntax", wrote, at.Major()))
	}
	return nil
}

// rightsSQL selects what the login lacks, in words. $1 are the schemas, $2 is the owner or empty, $3
// tells whether whole schemas are replaced, $4 whether a schema may have to be created.
const rightsSQL = `
SELECT format('role %I does not exist', $2::text) WHERE $2 <> '' AND to_regrole(quote_ident($2)) IS NULL
UNION ALL
SELECT format('the login %I is no member of role %I', current_user, rolname) FROM pg_roles WHERE rolname = $2 AND NOT pg_has_role(oid, 'MEMBER')
UNION ALL
SELECT format('the login %I lacks CREATE on database %I', current_user, current_database())
 WHERE NOT has_database_privilege(current_database(), 'CREATE')
   AND $4 AND EXISTS (SELECT FROM unnest($1::text[]) s WHERE $3 OR NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = s))
UNION ALL
SELECT format('the login %I is no member of the owner of schema %I', current_user, nspname)
  FROM pg_namespace WHERE $3 AND nspname = ANY ($1::text[]::name[]) AND NOT pg_has_role(nspowner, 'USAGE')`

// rights returns ErrForbidden if the login lacks a right that the placement is certain to need.
func (pl *placing) rights(ctx context.Context) error {
	p := pl.placement
	lacks, err := strs(ctx, pl.at.Conn, rightsSQL, pl.schemas, p.Owner, p.Mode == Replace && len(p.Tables) == 0, len(p.Tables) == 0 || len(pl.schemas) == 1)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", ErrForbidden, strings.Join(lacks, "; "))
}

// findOld finds what is moved aside, or returns ErrOccupied.
func (pl *placing) findOld(ctx context.Context, tables []export.Table) (err error) {
	conn := pl.at.Conn
	if pl.placement.Mode == Create && tables == nil {
		return emptySchemas(ctx, conn, pl.schemas)
	}
	olds, err := findOld(ctx, conn, pl.schemas, tables)
	if err != nil {
		return err
	}
	if pl.placement.Mode == Create {
		if len(olds) > 0 {
			return fmt.Errorf("%w: it holds %v", ErrOccupied, olds[0].names)
		}
		return nil
	}
	pl.olds = olds
	var dependents []string
	for i, o := range olds {
		found, err := o.dependents(ctx, conn, olds)
		if err != nil {
			return err
		}
		dependents = append(dependents, found...)
		stuck, err := olds[i].findExtensions(ctx, conn)
		switch {
		case err != nil:
			return err
		case len(stuck) > 0:
			return fmt.Errorf("%w: schema %s holds extensions that it cannot move out of there, replace single tables instead: %s", ErrForbidden, quoted(o.schema), strings.Join(stuck, ", "))
		}
	}
	if len(dependents) > 0 {
		slices.Sort(dependents)
		return &DependentsError{Objects: slices.Compact(dependents), replaced: true}
	}
	return nil
}

// part returns the evidence of the chosen schemas. The chosen tables are known later.
func (pl *placing) part(e Evidence) Evidence {
	chosen := pl.placement.chosenSchemas(pl.source)
	e.Contents.Tables = maps.Clone(e.Contents.Tables)
	maps.DeleteFunc(e.Contents.Tables, func(t export.Table, _ int64) bool { return !slices.Contains(chosen, t.Schema) })
	return e
}

// placeScript feeds the script of a renamed export.
func (f *feed) placeScript(ctx context.Context, script io.Reader, whole func(error) error) error {
	return f.stepwise(ctx, bufio.NewReaderSize(script, 256<<10), whole)
}

// planned returns the plan.
func (pl *placing) planned() Plan {
	out := Plan{
		ServerVersion: pl.at.Version(), Schemas: pl.schemas, Tables: pl.tables, Rows: pl.rows, Missing: pl.at.missing,
		LeftOut: pl.leftOut, StillNames: pl.still, Warnings: pl.source.Warnings,
	}
	for _, o := range pl.olds {
		out.Aside = append(out.Aside, o.text()...)
	}
	return out
}

// analyze collects statistics of the restored tables. A failure is a remark.
func (pl *placing) analyze(ctx context.Context, at *place) {
	ctx, cancel := context.WithTimeout(ctx, pl.restorer.config.Timeout)
	defer cancel()
	if at.Conn.IsClosed() {
		pl.placed.Remarks = append(pl.placed.Remarks, "the tables were not analysed: the connection was lost after COMMIT")
		return
	}
	// After COMMIT the bound of the transaction is gone.
	_, _ = at.Conn.Exec(ctx, strings.Replace(pl.restorer.lockWait(), "LOCAL ", "", 1))
	const most = 3
	failed := 0
	for _, t := range pl.tables {
		if _, err := at.Conn.Exec(ctx, "ANALYZE "+identifier(t)); err != nil {
			if failed++; failed <= most {
				pl.placed.Remarks = append(pl.placed.Remarks, fmt.Sprintf("table %s was not analysed: %s", identifier(t), oneLine(err.Error())))
			}
			if at.Conn.IsClosed() {
				return
			}
		}
	}
	if failed > most {
		pl.placed.Remarks = append(pl.placed.Remarks, fmt.Sprintf("%d more tables were not analysed", failed-most))
	}
}
