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
	dropKept(ctx context.Context, t operation.Target, schemas []string) (dropped, left []string, err error)
}

// keptDropper drops what restores have set aside, once it was kept for RESTORE_KEEP. What cannot be
// dropped stays in the ledger's list and is tried again.
type keptDropper struct {
	ledger  keptLedger
	targets operation.Targets
	engine  keptEngine
	log     *slog.Logger

	reminders map[string]*export.Reminder // by project
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

// drop asks each target that has something due.
func (k *keptDropper) drop(ctx context.Context) {
	due, err := k.ledger.Keeping(ctx)
	if err != nil && ctx.Err() == nil {
		k.log.WarnContext(ctx, "kept schemas not looked for", "error", err)
	}
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].Project == due[0].Project && bytes.Equal(due[n].Target, due[0].Target) {
			n++
		}
		k.inTarget(ctx, due[0].Project, due[:n])
		due = due[n:]
	}
}

var errOtherTarget = errors.New("the control plane names another target than when the restore was made")

// inTarget drops what is due in the target of some restores of one project.
func (k *keptDropper) inTarget(ctx context.Context, project string, of []ledger.Kept) {
	left, err := k.ask(ctx, project, of)
	if ctx.Err() != nil {
		return
	}
	remind := k.reminders[project]
	if err == nil {
		delete(k.reminders, project)
		return
	}
	if remind == nil {
		remind = &export.Reminder{After: 1}
		if k.reminders == nil {
			k.reminders = map[string]*export.Reminder{}
		}
		k.reminders[project] = remind
	}
	if lasted, due := remind.Due(); due {
		k.log.WarnContext(ctx, "kept schemas not dropped, to be tried again", "project_id", project, "schemas", left, "for", lasted.Round(time.Second), "error", err)
	}
}

// ask drops what is due in a target, and records which restores have nothing there any more. It
// returns the schemas of the others.
func (k *keptDropper) ask(ctx context.Context, project string, of []ledger.Kept) (still []string, err error) {
	for _, one := range of {
		still = append(still, one.Schemas...)
	}
	ctx, cancel := context.WithTimeout(ctx, dropFor)
	defer cancel()
	target, err := k.targets.Lookup(ctx, project)
	if err != nil {
		return still, err
	}
	identity, err := k.engine.Identity(target)
	if err != nil {
		return still, err
	}
	dropped, left, err := k.engine.dropKept(ctx, target, still)
	if len(dropped) > 0 {
		k.log.InfoContext(ctx, "kept schemas dropped", "project_id", project, "schemas", dropped)
	}
	same := bytes.Equal(identity, of[0].Target)
	if !same && err == nil {
		err = errOtherTarget
	}
	still = nil
	for _, one := range of {
		missing := func(s string) bool { return !slices.Contains(dropped, s) }
		gone := !slices.ContainsFunc(one.Schemas, missing)
		if left != nil && same { // the target has said what it has
			gone = !slices.ContainsFunc(one.Schemas, func(s string) bool { return slices.Contains(left, s) })
		}
		if !gone {
			still = append(still, one.Schemas...)
			continue
		}
		if err := k.ledger.KeptGone(ctx, one.ID); err != nil {
			return still, err
		}
	}
	if len(still) == 0 {
		return nil, nil
	}
	return still, err
}
