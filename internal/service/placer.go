package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// placer implements operation.Engine: it reads exports from the destinations and places them.
type placer struct {
	engine   *restore.Restorer
	reader   *destinations.Reader
	database secret.String // of the control plane, for targets without a dsn
	command  secret.Command
	keep     time.Duration
	log      *slog.Logger
}

var _ operation.Engine = (*placer)(nil)

// source returns the connection to a target.
func (p *placer) source(t operation.Target) (*libpq.Source, error) {
	dsn := t.DSN
	if dsn == "" {
		dsn = p.database
	}
	s, err := libpq.Parse(dsn)
	if err != nil {
		return nil, &export.Fault{Code: codes.InternalError, Message: "the control plane's connection string of the target cannot be used", Err: err}
	}
	return s.WithPasswordCommand(p.command), nil
}

// Identity implements operation.Engine.
func (p *placer) Identity(t operation.Target) ([]byte, error) {
	s, err := p.source(t)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", s.Endpoints(), s.Database(), t.Schema))
	return sum[:], nil
}

// Plan implements operation.Engine.
func (p *placer) Plan(ctx context.Context, j operation.Job) (operation.Result, error) {
	var plan restore.Plan
	passed, err := p.withCopy(ctx, j, func(x restore.Export, to restore.Placement) (err error) {
		plan, err = p.engine.Plan(ctx, x, to, nil)
		return err
	})
	if err != nil {
		return operation.Result{}, placeFault(ctx, err)
	}
	out := operation.Result{
		Schemas: plan.Schemas, Tables: len(plan.Tables), Rows: plan.Rows, SHA256: j.Export.Artifact.SHA256, ServerVersion: plan.ServerVersion,
	}
	for _, about := range []struct {
		what string
		all  []string
	}{
		{"would be set aside: ", plan.Aside}, {"the target lacks: ", plan.Missing}, {"cannot be restored: ", plan.LeftOut},
		{"would still name the export's schema: ", plan.StillNames}, {"of the export: ", plan.Warnings},
	} {
		for _, one := range about.all {
			out.Remarks = append(out.Remarks, about.what+one)
		}
	}
	out.Remarks = append(passed, out.Remarks...) // the first ones are kept if there are many
	return out, nil
}

// Place implements operation.Engine.
func (p *placer) Place(ctx context.Context, j operation.Job, progress func(operation.Progress)) (operation.Result, error) {
	var placed restore.Placed
	passed, err := p.withCopy(ctx, j, func(x restore.Export, to restore.Placement) (err error) {
		placed, err = p.engine.Place(ctx, x, to, func(at restore.Progress) {
			progress(operation.Progress{Stage: string(at.Stage), ReadBytes: at.Stored, StoredBytes: at.Total})
		})
		return err
	})
	if err != nil {
		return operation.Result{}, placeFault(ctx, err)
	}
	out := placedResult(placed)
	out.Remarks = append(passed, out.Remarks...)
	out.SHA256 = j.Export.Artifact.SHA256
	return out, nil
}

// Committed implements operation.Engine.
func (p *placer) Committed(ctx context.Context, j operation.Job) (*operation.Result, error) {
	return p.settled(ctx, j, p.engine.Committed)
}

// Refuse implements operation.Engine.
func (p *placer) Refuse(ctx context.Context, j operation.Job) (*operation.Result, error) {
	return p.settled(ctx, j, p.engine.Refuse)
}

func (p *placer) settled(ctx context.Context, j operation.Job, ask func(context.Context, *libpq.Source, string) (restore.Placed, bool, error)) (*operation.Result, error) {
	to, err := p.source(j.Target)
	if err != nil {
		return nil, err
	}
	placed, committed, err := ask(ctx, to, j.MarkerID())
	if err != nil {
		return nil, placeFault(ctx, err)
	}
	if !committed {
		return nil, nil //nolint:nilnil // not committed is an ordinary answer
	}
	out := placedResult(placed)
	return &out, nil
}

// dropKept drops those of the schemas that are due by the target's clock, with what their restores have
// kept beside them. See restore.Restorer.DropKept.
func (p *placer) dropKept(ctx context.Context, t operation.Target, schemas []string) (dropped, left []string, err error) {
	to, err := p.source(t)
	if err != nil {
		return nil, nil, err
	}
	return p.engine.DropKept(ctx, to, func(k restore.Kept) bool {
		return slices.ContainsFunc(k.Schemas, func(s string) bool { return slices.Contains(schemas, s) })
	})
}

func placedResult(placed restore.Placed) operation.Result {
	out := operation.Result{
		Schemas: placed.Schemas, Tables: len(placed.Tables), Rows: placed.Rows(), ServerVersion: placed.ServerVersion,
		Kept: placed.Kept, KeptUntil: placed.KeptUntil,
	}
	for _, one := range placed.LeftOut {
		out.Remarks = append(out.Remarks, "was not restored: "+one)
	}
	for _, one := range placed.StillNames {
		out.Remarks = append(out.Remarks, "still names the export's schema: "+one)
	}
	out.Remarks = append(out.Remarks, placed.Remarks...)
	return out
}

// placement returns where the export of a job goes.
func (p *placer) placement(j operation.Job) (restore.Placement, error) {
	to, err := p.source(j.Target)
	if err != nil {
		return restore.Placement{}, err
	}
	out := restore.Placement{
		ID: j.MarkerID(), Source: to, Schema: j.Target.Schema, Owner: j.Target.Owner, Mode: restore.Create, Schemas: j.Order.Schemas, Keep: p.keep,
	}
	if j.Order.Mode == operation.Replace {
		out.Mode = restore.Replace
	}
	for _, name := range j.Order.Tables {
		out.Tables = append(out.Tables, tableOf(name))
	}
	return out, nil
}

// tableOf returns a table of the contract in the quoted form of restore.Placement: unquoted, "a.b".c and
// a."b.c" would be the same.
func tableOf(name string) string {
	t := events.SplitTable(name)
	return pgx.Identifier{t.Schema, t.Name}.Sanitize()
}

// placeFaults is the table of the errors of a placement; the first match counts.
var placeFaults = []struct {
	err     error
	code    codes.Code
	message string // empty: the error's own text, which is safe to show
}{
	{restore.ErrRefused, codes.WorkerLost, "an earlier attempt was lost, and the target then refused the restore"},
	{restore.ErrUnknown, codes.TargetUnavailable, "the connection to the target was lost"},
	{restore.ErrTimeout, codes.RestoreTimeout, "the restore took longer than its limit"},
	{restore.ErrPlacement, codes.RestoreImpossible, ""},
	{restore.ErrOccupied, codes.TargetOccupied, "the target holds objects where the export goes: ask for the mode replace"},
	{restore.ErrBusy, codes.LockTimeout, "another restore holds the target"},
	{restore.ErrInUse, codes.LockTimeout, "open sessions hold what is to be replaced"},
	{restore.ErrForbidden, codes.TargetForbidden, "the login lacks a right in the target"},
	{restore.ErrMarkers, codes.TargetForbidden, ""},
	{restore.ErrLocks, codes.RestoreImpossible, "the target has too few locks for one transaction: raise max_locks_per_transaction"},
	{restore.ErrIdentity, codes.ExportLocked, "no identity of the restorer opens the export"},
	{storage.ErrSealed, codes.ExportLocked, "no identity of the restorer opens the export"},
	{restore.ErrUnverified, codes.ExportDamaged, "what is stored is not what was promised"},
	{storage.ErrDamaged, codes.ExportDamaged, "what is stored is not what was promised"},
	{storage.ErrForeign, codes.ExportDamaged, "what is stored is not what was promised"},
	{destinations.ErrNoExport, codes.ExportMissing, "no destination holds the export"},
	{storage.ErrNotFound, codes.ExportMissing, "no destination holds the export"},
	{storage.ErrVersion, codes.VersionMismatch, "the export was written by a later version"},
	{libpq.ErrNoAnswer, codes.InternalError, "a client tool of the restorer does not answer: its machine may be overloaded"}, // is an ErrTool too
	{restore.ErrTool, codes.VersionMismatch, "the restorer has no client tools for this export and target"},
	{storage.ErrRefused, codes.StorageRefused, "the storage refuses the restorer"},
	{storage.ErrUnavailable, codes.StorageUnavailable, "the storage cannot be read now"},
	{restore.ErrScratch, codes.SpoolUnavailable, "the restorer's disk or its throw-away server cannot be used"},
}

// targetStates is the table of the SQLSTATEs with which a target refuses a connection or a statement.
var targetStates = []struct {
	state   string // its first characters
	code    codes.Code
	message string
}{
	{"28", codes.TargetAuthFailed, "the target refuses the login"},
	{"3D000", codes.TargetNotFound, "the target database does not exist"},
	{"42501", codes.TargetForbidden, "the login lacks a right in the target"},
	{"55P03", codes.LockTimeout, "open sessions hold what is to be replaced"},
	{"40P01", codes.LockTimeout, "open sessions hold what is to be replaced"},
	{"53100", codes.TargetFull, "the target's disk is full"},
	{"25006", codes.TargetUnavailable, "the target is read-only"},
	{"53", codes.TargetUnavailable, "the target is out of connections or memory"},
	{"57", codes.TargetUnavailable, "the target ended the session"},
	{"08", codes.TargetUnavailable, "the connection to the target was lost"},
}

// placeFault returns the fault of an error of a placement. The end of ctx stays as it is. No message
// quotes rows, or names what does not belong to the export.
func placeFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if left, ok := errors.AsType[*restore.LeftOutError](err); ok {
		return &export.Fault{Code: codes.RestoreImpossible, Message: left.Error(), Err: err}
	}
	if _, ok := errors.AsType[*restore.DependentsError](err); ok {
		return &export.Fault{Code: codes.RestoreImpossible, Message: "objects outside of what is to be replaced depend on it", Err: err}
	}
	for _, f := range placeFaults {
		if !errors.Is(err, f.err) {
			continue
		}
		fault := &export.Fault{Code: f.code, Message: f.message, Err: err}
		if f.message == "" {
			fault.Message = err.Error()
		}
		if errors.Is(f.err, restore.ErrRefused) {
			fault.Err = fmt.Errorf("%w: %w", operation.ErrRefused, err)
		}
		return fault
	}
	if _, known := errors.AsType[*export.Fault](err); known {
		return err
	}
	state := ""
	rejected, refused := errors.AsType[*restore.RejectedError](err)
	if refused {
		state = rejected.SQLState
	} else if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		state = pg.Code
	}
	for _, s := range targetStates {
		if strings.HasPrefix(state, s.state) {
			return &export.Fault{Code: s.code, Message: s.message, Err: err}
		}
	}
	switch {
	case refused:
		text := fmt.Sprintf("the target refused the export, SQLSTATE %.5s", state)
		if state == "" {
			text = "the export holds what no export holds, and was refused before the target got it: it may be an attack"
		}
		if len(rejected.Missing) > 0 {
			text += "; the export needs what the target lacks: " + strings.Join(rejected.Missing, "; ")
		}
		return &export.Fault{Code: codes.RestoreRejected, Message: text, Err: err}
	case errors.Is(err, restore.ErrTarget):
		return &export.Fault{Code: codes.TargetUnavailable, Message: "the target cannot be used now", Err: err}
	}
	return err
}
