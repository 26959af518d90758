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
