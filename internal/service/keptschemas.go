package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

const (
	// dropEvery is the pause between two looks for kept schemas that are due.
	dropEvery = 10 * time.Minute
	// dropFor bounds the work in one target.
	dropFor = 5 * time.Minute
)

// keptLedger records what restores have set aside.
type keptLedger interface {
	Keeping(ctx context.Context) ([]ledger.Kept, error)
	KeptGone(ctx context.Context, id export.ID) error
}

// keptEngine drops schemas in targets.
type keptEngine interface {
	Identity(t operation.Target) ([]byte, error)
	// dropKept drops those of the schemas that are due by the target's clock. See restore.Restorer.DropKept.
	dropKept(ctx context.Context, t operation.Target, schemas []string) (dropped, left []string, err error)
}

// keptDropper drops what restores have set aside, once it was kept for RESTORE_KEEP. What cannot be
// dropped stays in the ledger's list and is tried again.
type keptDropper struct {
	ledger  keptLedger
	targets operation.Targets
	engine  keptEngine
	log     *slog.Logger

	reminders map[export.ID]*export.Reminder // of the restores that could not be dropped in the last round
}

// run looks every so often until ctx ends.
func (k *keptDropper) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		k.drop(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drop asks the target of each project that has something due.
func (k *keptDropper) drop(ctx context.Context) {
	due, err := k.ledger.Keeping(ctx)
	if err != nil {
		if ctx.Err() == nil {
			k.log.WarnContext(ctx, "kept schemas not looked for", "error", err)
		}
		return
	}
	last := k.reminders
	k.reminders = map[export.ID]*export.Reminder{}
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].Project == due[0].Project {
			n++
		}
		faults := k.ofProject(ctx, due[0].Project, due[:n])
		if ctx.Err() != nil {
			return
		}
		for _, one := range due[:n] {
			fault := faults[one.ID]
			if fault == nil {
				continue
			}
			remind := last[one.ID]
			if remind == nil {
				remind = &export.Reminder{After: 1}
			}
			k.reminders[one.ID] = remind
			if lasted, due := remind.Due(); due {
				k.log.WarnContext(ctx, "kept schemas not dropped, to be tried again", "project_id", one.Project, "restore_id", one.Request,
					"schemas", one.Schemas, "for", lasted.Round(time.Second), "error", fault)
			}
		}
		due = due[n:]
	}
}

var errOtherTarget = errors.New("the control plane names another target than when the restore was made")

// ofProject drops what is due in the target of a project, and records which of its restores have
// nothing there any more. It returns why others still have: a restore that is not due by the target's
// clock has no fault.
func (k *keptDropper) ofProject(ctx context.Context, project string, of []ledger.Kept) map[export.ID]error {
	faults := map[export.ID]error{}
	bounded, cancel := context.WithTimeout(ctx, dropFor)
	defer cancel()
	var schemas []string
	for _, one := range of {
		schemas = append(schemas, one.Schemas...)
	}
	target, err := k.targets.Lookup(bounded, project)
	var dropped, left []string
	if err == nil {
		dropped, left, err = k.engine.dropKept(bounded, target, schemas)
	}
	if len(dropped) > 0 {
		k.log.InfoContext(ctx, "kept schemas dropped", "project_id", project, "schemas", dropped)
	}
	var stuck map[string]error
	if kept, ok := errors.AsType[*restore.KeptError](err); ok {
		stuck, err = kept.Stuck, nil
	}
	for _, one := range of {
		has := func(names []string) bool {
			return slices.ContainsFunc(one.Schemas, func(s string) bool { return slices.Contains(names, s) })
		}
		gone := !slices.ContainsFunc(one.Schemas, func(s string) bool { return !slices.Contains(dropped, s) })
		fault := err
		if left != nil && !gone { // the target has said what it has
			var same bool
			same, fault = k.sameTarget(target, one)
			gone = same && !has(left)
			if fault == nil && !same && !has(left) {
				fault = errOtherTarget
			}
		}
		for _, s := range one.Schemas {
			if stuck[s] != nil {
				fault = stuck[s]
			}
		}
		if gone {
			fault = k.ledger.KeptGone(ctx, one.ID)
		}
		if fault != nil {
			faults[one.ID] = fault
		}
	}
	return faults
}

// sameTarget reports whether a restore was made in the database of a target. The recorded digest covers
// the schema too, and the control plane may name another schema of the same database by now.
func (k *keptDropper) sameTarget(t operation.Target, of ledger.Kept) (bool, error) {
	for _, schema := range append([]string{t.Schema, ""}, of.Placed...) {
		t.Schema = schema
		identity, err := k.engine.Identity(t)
		if err != nil || bytes.Equal(identity, of.Target) {
			return err == nil, err
		}
	}
	return false, nil
}
