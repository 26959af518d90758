package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// An expired lease is not renewed when another request of the project is running.
	renewLease = `
UPDATE pgcourier.requests SET lease_until = clock_timestamp() + $4
WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND state = 'running'
    AND (refused OR lease_until > clock_timestamp() OR NOT EXISTS (SELECT ` + others + `false)))
RETURNING CASE WHEN cancel_at IS NOT NULL THEN coalesce(cancel_by, '') END AS cancelled_by`

	finishAttempt = `
WITH request AS (
    UPDATE pgcourier.requests SET state = $4, lease_until = NULL, outcome = $5, touched_at = clock_timestamp(),
        code = CASE WHEN $4 = 'failed' THEN $7 END,
        finished_at = CASE WHEN $4 <> 'waiting' THEN clock_timestamp() END
    WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND state = 'running'
        AND (cancel_at IS NULL OR $4 = 'failed' AND $7 = 'cancelled')
    RETURNING project_id, request_id, attempt
)
UPDATE pgcourier.attempts a SET result = $6, ended_at = clock_timestamp(), code = $7, message = $8,
    object = CASE WHEN NOT $9 THEN object END,
    collect_after = CASE WHEN $6 <> 'completed' AND object IS NOT NULL AND NOT $9 THEN clock_timestamp() END
FROM request r
WHERE a.project_id = r.project_id AND a.request_id = r.request_id AND a.attempt = r.attempt`

	attemptResult = `
SELECT a.result, CASE WHEN r.state = 'running' AND r.attempt = a.attempt AND r.cancel_at IS NOT NULL THEN coalesce(r.cancel_by, '') END
FROM pgcourier.attempts a JOIN pgcourier.requests r USING (project_id, request_id)
WHERE a.project_id = $1 AND a.request_id = $2 AND a.attempt = $3`
)

// renewal is a lease that was renewed.
type renewal struct {
	CancelledBy *string `db:"cancelled_by"` // nil: the request was not cancelled
}

// Renew implements export.Ledger. It renews an expired lease too, unless another attempt has
// claimed the request or another request of the project is running.
func (l *Ledger) Renew(ctx context.Context, t export.Token) error {
	return l.call(ctx, "renew lease of "+t.String(), func(ctx context.Context) error {
		var own *renewal
		b := &pgx.Batch{}
		b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
		b.Queue(l.sql(lockProject), t.Project)
		b.Queue(l.sql(renewLease), t.Project, t.Request, t.Attempt, l.lease).Query(func(rows pgx.Rows) (err error) {
			own, err = oneOrNone[renewal](rows)
			return err
		})
		b.Queue("COMMIT")
		err := l.pool.SendBatch(ctx, b).Close()
		switch {
		case err != nil:
			return err
		case own == nil:
			return export.ErrSuperseded
		case own.CancelledBy != nil:
			return export.CancelledBy(*own.CancelledBy)
		}
		return nil
	})
}

// result is how an attempt ended.
type result string

const (
	retried   result = "retry"
	completed result = "completed"
	failed    result = "failed"
)

// ending is an export.Ending as columns of the tables.
type ending struct {
	state   export.State
	result  result
	outcome []byte  // nil: not terminal
	code    *string // nil: completed
	message *string
}

// Finish implements export.Ledger. The ledger's clock sets the row's time. The outcome keeps its
// own FinishedAt, so that it reads the same wherever it is announced; without one it gets the
// row's.
func (l *Ledger) Finish(ctx context.Context, t export.Token, e export.Ending) error {
	return l.finish(ctx, t, e, false)
}

// finish is Finish. settled: the target of a restore has refused it.
func (l *Ledger) finish(ctx context.Context, t export.Token, e export.Ending, settled bool) error {
	what := "finish " + t.String()
	end, err := newEnding(t, e)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	flag := e.Unwritten
	if l.ofRestores { // they store nothing
		flag = settled
	}
	args := []any{t.Project, t.Request, t.Attempt, end.state, end.outcome, end.result, end.code, end.message, flag}
	return l.call(ctx, what, func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, l.sql(finishAttempt), args...)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		// Nothing changed: the attempt is superseded, or the same ending was committed before
		// and its reply was lost. The result of an attempt never changes again.
		var was result
		var cancelledBy *string
		err = l.pool.QueryRow(ctx, l.sql(attemptResult), t.Project, t.Request, t.Attempt).Scan(&was, &cancelledBy)
		switch {
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		case cancelledBy != nil:
			return export.CancelledBy(*cancelledBy)
		case was == end.result:
			return nil
		default:
			return export.ErrSuperseded
		}
	})
}

func newEnding(t export.Token, e export.Ending) (ending, error) {
	if (e.Outcome == nil) == (e.Retry == nil) {
		return ending{}, errors.New("an ending is either an outcome or a retry")
	}
	if e.Outcome == nil {
		end := ending{state: export.Waiting, result: retried}
		end.because(e.Retry.Code, e.Retry.Message)
		return end, nil
	}
	if e.Outcome.ID != t.ID {
		return ending{}, fmt.Errorf("the outcome is that of %s", e.Outcome.ID)
	}
	b, err := encodeOutcome(*e.Outcome)
	if err != nil {
		return ending{}, err
	}
	switch e.Outcome.State {
	case export.Completed:
		return ending{state: export.Completed, result: completed, outcome: b}, nil
	case export.Failed:
		end := ending{state: export.Failed, result: failed, outcome: b}
		end.because(e.Outcome.Code, e.Outcome.Message)
		return end, nil
	default:
		return ending{}, fmt.Errorf("the outcome's state %q is not terminal", e.Outcome.State)
	}
}

func (e *ending) because(code codes.Code, message string) {
	c, m := text(string(code)), text(message)
	e.code, e.message = &c, &m
}
