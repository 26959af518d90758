package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

// failPoints returns every point at which a worker of this build can be killed.
func failPoints() []failpoint.Name {
	return []failpoint.Name{
		failpoint.BeforeClaim, failpoint.AfterClaim, failpoint.AfterLookup, failpoint.AfterOpen, failpoint.MidStream,
		failpoint.BeforeReadBack, failpoint.BeforeFinalise, failpoint.AfterObject, failpoint.AfterStore, failpoint.BeforeCommit,
		failpoint.AfterCommit, failpoint.AfterPublish, failpoint.AfterMark, failpoint.BeforeAck, failpoint.AfterAck,
		failpoint.BeforeDiscard,
	}
}

// pointFaults kill the first worker at each fail point. They also stop it there until the others
// have done everything that is possible without it.
func pointFaults() []fault {
	var out []fault
	for _, p := range failPoints() {
		point := string(p)
		arm := func(action string) string {
			if p == failpoint.BeforeDiscard {
				return "mid-stream=stop," + point + "=" + action
			}
			// Not the first hit, so that the worker has done some work.
			return point + "=" + action + "@2"
		}
		prepare := func(ctx context.Context, w *world) error {
			if p != failpoint.BeforeDiscard {
				return nil
			}
			// It has something to discard once another worker owns the request.
			if err := w.stopped(ctx, string(failpoint.MidStream)); err != nil {
				return err
			}
			if err := w.superseded(ctx); err != nil {
				return err
			}
			return w.workers[0].process.signal(syscall.SIGCONT)
		}
		out = append(out, fault{
			name: "exit-" + point, about: "SIGKILL at " + point, failpoints: arm("exit"),
			strike: func(ctx context.Context, w *world) error {
				if err := prepare(ctx, w); err != nil {
					return err
				}
				if err := w.stopped(ctx, point); err != nil {
					return err
				}
				w.heal()
				return w.workers[0].restart(ctx)
			},
		}, fault{
			name: "stop-" + point, about: "SIGSTOP at " + point + ", until all is done by others", failpoints: arm("stop"),
			strike: func(ctx context.Context, w *world) error {
				if err := prepare(ctx, w); err != nil {
					return err
				}
				if err := w.stopped(ctx, point); err != nil {
					return err
				}
				w.heal()
				if err := w.lasts(ctx, 1.2); err != nil {
					return err
				}
				if err := w.finished(ctx, len(w.jobs)); err != nil {
					return err
				}
				return w.workers[0].process.signal(syscall.SIGCONT)
			},
		})
	}
	return out
}

// superseded waits until the first worker has lost all its running attempts.
func (w *world) superseded(ctx context.Context) error {
	k := w.workers[0]
	return until(ctx, timeout(0), "the stopped worker to be superseded", func(ctx context.Context) (bool, error) {
		n, err := w.count(ctx, `SELECT count(*) FROM pgcourier.attempts WHERE result = 'running' AND worker = $1`, k.names[len(k.names)-1])
		if err == nil && n > 0 {
			err = fmt.Errorf("%d attempts of %s are running", n, strings.Join(k.names, ", "))
		}
		return err == nil, err
	})
}
