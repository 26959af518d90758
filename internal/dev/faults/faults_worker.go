package main

import (
	"context"
	"syscall"
	"time"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

func workerFaults() []fault {
	return []fault{
		{
			name: "none", about: "nothing goes wrong", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error { w.heal(); return nil },
		},
		{
			name: "worker-kill", about: "SIGKILL in mid-dump",
			strike: func(ctx context.Context, w *world) error {
				k, err := w.dumping(ctx)
				if err != nil {
					return err
				}
				k.process.kill()
				w.heal()
				return k.restart(ctx)
			},
		},
		{
			name: "worker-kill-all", about: "SIGKILL of every worker in mid-dump",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				for _, k := range w.workers {
					k.process.kill()
				}
				w.heal()
				for _, k := range w.workers {
					if err := k.restart(ctx); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name: "worker-term", about: "SIGTERM in mid-dump: it finishes what it holds", firstAttempt: true,
			strike: terminated,
		},
		{
			name: "worker-term-impatient", about: "SIGTERM in mid-dump with a drain shorter than the dump",
			settings: []string{"PGCOURIER_DRAIN_TIMEOUT=300ms"},
			strike:   terminated,
		},
		{
			name: "worker-stop", about: "SIGSTOP in mid-dump for longer than ack wait and lease, then SIGCONT",
			strike: func(ctx context.Context, w *world) error {
				k, err := w.dumping(ctx)
				if err != nil {
					return err
				}
				if err := k.process.signal(syscall.SIGSTOP); err != nil {
					return err
				}
				w.heal()
				if err := w.lasts(ctx, 2.5); err != nil {
					return err
				}
				return k.process.signal(syscall.SIGCONT)
			},
		},
		panicking(failpoint.MidStream), panicking(failpoint.AfterClaim), panicking(failpoint.AfterCommit),
		{
			name: "rolling-restart", about: "every worker is restarted twice under load", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				for range 2 {
					for _, k := range w.workers {
						if err := k.process.end(time.Minute); err != nil {
							return err
						}
						if err := k.restart(ctx); err != nil {
							return err
						}
					}
				}
				w.heal()
				return nil
			},
		},
		{
			name: "clock-an-hour-off", about: "one worker's wall clock is an hour ahead", shifted: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error { w.heal(); return nil },
		},
	}
}

// panicking panics in a handler.
func panicking(p failpoint.Name) fault {
	return fault{
		name: "panic-" + string(p), about: "a panic at " + string(p), failpoints: string(p) + "=panic@2",
		strike: func(ctx context.Context, w *world) error {
			if err := w.stopped(ctx, string(p)); err != nil {
				return err
			}
			w.heal()
			return nil
		},
	}
}

// terminated ends the first worker that dumps with SIGTERM, and starts it again.
func terminated(ctx context.Context, w *world) error {
	k, err := w.dumping(ctx)
	if err != nil {
		return err
	}
	w.heal()
	if err := k.process.end(time.Minute); err != nil {
		return err
	}
	return k.restart(ctx)
}
