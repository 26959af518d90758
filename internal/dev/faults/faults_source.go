package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
)

const dumpSessions = `FROM pg_stat_activity WHERE application_name LIKE 'pgcourier dump%'`

func sourceFaults() []fault {
	return []fault{
		{
			name: "source-backend-terminated", about: "pg_terminate_backend of every dump in mid-dump",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				_, err := w.lab.origin.Exec(ctx, `SELECT pg_terminate_backend(pid) `+dumpSessions)
				w.heal()
				return err
			},
		},
		{
			name: "source-snapshot-terminated", about: "pg_terminate_backend of the sessions that hold the snapshots",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				_, err := w.lab.origin.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgcourier snapshot%'`)
				w.heal()
				return err
			},
		},
		{
			name: "source-backend-stopped", about: "a dump's server process hangs (SIGSTOP) until the watchdog ends the dump",
			settings: []string{"PGCOURIER_LOCK_TIMEOUT=2s", "PGCOURIER_STALL_TIMEOUT=5s"},
			strike:   backendStopped,
		},
		{
			name: "source-locked", about: "an exclusive lock is held until a dump has given up waiting",
			settings: []string{"PGCOURIER_LOCK_TIMEOUT=1500ms"}, unpublished: true,
			strike: sourceLocked,
		},
		{
			name: "source-restart", about: "the source is killed in mid-dump and started again",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				err := w.lab.source.Halt(ctx, "immediate")
				err = errors.Join(err, w.lab.source.Resume(ctx))
				w.heal()
				w.lab.origin.Reset()
				return err
			},
		},
		{
			name: "source-wrong-password", about: "one project's password is wrong: it fails at once, at one attempt",
			permitted:   map[string][]codes.Code{badProject: {codes.SourceAuthFailed}},
			unpublished: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				_, err := w.lab.ledger.Exec(ctx, `UPDATE control_plane.projects
					SET dsn = replace(dsn, '@', 'x@') WHERE id = $1`, badProject)
				if err != nil {
					return err
				}
				w.heal()
				return w.publish(ctx, w.jobs)
			},
		},
		{
			name: "source-slow", about: "the link to the source is slow: dumps last for longer than the ack wait", unpublished: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				const rate = 1500 // KB/s: four seconds and more for each large dump
				if err := w.lab.sourceEdge.slow(rate); err != nil {
					return err
				}
				err := w.publish(ctx, w.jobs)
				err = errors.Join(err, w.finished(ctx, len(w.jobs)))
				w.heal()
				return errors.Join(err, w.lab.sourceEdge.fast(ctx))
			},
		},
		{
			name: "source-cut", about: "the links to the source break in mid-dump and are refused for an ack wait",
			settings: []string{"PGCOURIER_RETRY_BACKOFF=5s"},
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				w.lab.sourceEdge.cut()
				w.lab.slowEdge.cut()
				err := w.lasts(ctx, 0.5)
				w.heal()
				return errors.Join(err, w.lab.sourceEdge.join(), w.lab.slowEdge.join())
			},
		},
	}
}

// backendStopped stops the server process of one dump. The watchdog must end the dump. The process
// is continued only then, so that it can notice.
func backendStopped(ctx context.Context, w *world) error {
	if _, err := w.dumping(ctx); err != nil {
		return err
	}
	rows, err := w.lab.origin.Query(ctx, `SELECT pid `+dumpSessions+` AND query LIKE 'COPY%'`)
	if err != nil {
		return err
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return err
	}
	stopped := 0
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGSTOP) == nil {
			stopped++
			defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
		}
	}
	if stopped == 0 {
		return errors.New("no server process could be stopped")
	}
	w.heal()
	return until(ctx, timeout(0), "the watchdog to end the dump", func(context.Context) (bool, error) {
		return w.logged(`"code":"dump_stalled"`) > 0, fmt.Errorf("%d processes are stopped", stopped)
	})
}

func sourceLocked(ctx context.Context, w *world) error {
	tx, err := w.lab.origin.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, `LOCK TABLE "tenant_`+lockedProject+`".orders IN ACCESS EXCLUSIVE MODE`); err != nil {
		return err
	}
	if err := w.publish(ctx, w.jobs); err != nil {
		return err
	}
	err = until(ctx, timeout(0), "a dump to give up waiting", func(context.Context) (bool, error) {
		return w.logged(`"code":"lock_timeout"`) > 0, nil
	})
	err = errors.Join(err, w.mark(ctx))
	w.heal()
	return errors.Join(err, tx.Rollback(ctx))
}
