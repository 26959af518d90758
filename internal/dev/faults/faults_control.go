package main

import (
	"context"
	"errors"
	"syscall"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

func controlFaults() []fault {
	return []fault{
		{
			name: "control-down-at-claim", about: "the control plane is gone when a worker claims", firstAttempt: true,
			failpoints: string(failpoint.BeforeClaim) + "=stop@2",
			strike: func(ctx context.Context, w *world) error {
				if err := w.stopped(ctx, string(failpoint.BeforeClaim)); err != nil {
					return err
				}
				if err := w.lab.control.Halt(ctx, "immediate"); err != nil {
					return err
				}
				err := w.workers[0].process.signal(syscall.SIGCONT)
				return errors.Join(err, w.lasts(ctx, 1), w.resumeControl(ctx))
			},
		},
		{
			name: "control-down-long", about: "the control plane is gone in mid-dump, for longer than all deliveries would last", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				if err := w.lab.control.Halt(ctx, "immediate"); err != nil {
					return err
				}
				const deliveries = 3
				return errors.Join(w.lasts(ctx, deliveries+2), w.resumeControl(ctx))
			},
		},
		{
			name: "control-restart", about: "the control plane restarts in mid-dump", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				return errors.Join(w.lab.control.Halt(ctx, "fast"), w.resumeControl(ctx))
			},
		},
		lostReply("claim-reply-reset", "the connection breaks on the reply of a claim's COMMIT", failpoint.BeforeClaim,
			`SELECT count(*) FROM pgcourier.attempts WHERE worker = $1`),
		lostReply("commit-reply-reset", "the connection breaks on the reply of an outcome's COMMIT", failpoint.BeforeCommit,
			`SELECT count(*) FROM pgcourier.attempts WHERE worker = $1 AND result = 'completed'`),
	}
}

// resumeControl starts the control plane again.
func (w *world) resumeControl(ctx context.Context) error {
	err := w.lab.control.Resume(ctx)
	w.heal()
	w.lab.ledger.Reset()
	return err
}
