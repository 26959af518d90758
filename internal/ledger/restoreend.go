package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

const (
	noteUnanswered = `
UPDATE pgcourier.restores SET unanswered_at = clock_timestamp(),
    unanswered_since = CASE WHEN unanswered_at > clock_timestamp() - $3::interval THEN unanswered_since ELSE clock_timestamp() END
WHERE project_id = $1 AND request_id = $2 AND state IN ('waiting', 'running')
RETURNING clock_timestamp() - unanswered_since`

	noteAnswered = `
UPDATE pgcourier.restores SET unanswered_at = NULL, unanswered_since = NULL
WHERE project_id = $1 AND request_id = $2 AND unanswered_at IS NOT NULL`

	// As failRequest. $8: the target has refused or committed the restore, or is given up.
	endRestore = `
WITH request AS (
    UPDATE pgcourier.restores SET state = $7, attempt = attempt + 1, lease_until = NULL, outcome = $5, code = nullif($6, ''),
        touched_at = clock_timestamp(), finished_at = clock_timestamp()
    WHERE project_id = $2 AND request_id = $3 AND attempt = $4
        AND ($6 IN ('', 'restore_unknown') OR (cancel_at IS NOT NULL) = ($6 = 'cancelled'))
        AND (placing_at IS NULL OR $8) AND ` + unheld + `
    RETURNING finished_at
), attempts AS (
    UPDATE pgcourier.restore_attempts SET result = 'superseded', ended_at = clock_timestamp()
    WHERE project_id = $2 AND request_id = $3 AND result = 'running' AND EXISTS (SELECT FROM request)
)
SELECT finished_at FROM request`
)

// Unanswered implements operation.Ledger.
func (r *Restores) Unanswered(ctx context.Context, id export.ID, gap time.Duration) (since time.Duration, err error) {
	what := "record that the target of " + id.String() + " does not answer"
	err = r.ledger.call(ctx, what, func(ctx context.Context) error {
		err := r.ledger.pool.QueryRow(ctx, noteUnanswered, id.Project, id.Request, gap).Scan(&since)
		if errors.Is(err, pgx.ErrNoRows) {
			return export.ErrNotLost
		}
		return err
	})
	return since, err
}

// Answered implements operation.Ledger.
func (r *Restores) Answered(ctx context.Context, id export.ID) error {
	return r.ledger.call(ctx, "record that the target of "+id.String()+" answers", func(ctx context.Context) error {
		_, err := r.ledger.pool.Exec(ctx, noteAnswered, id.Project, id.Request)
		return err
	})
}

// End implements operation.Ledger.
func (r *Restores) End(ctx context.Context, s export.Stranded, grace time.Duration, how operation.Settlement) (export.Outcome, error) {
	if how.Restored == nil {
		return r.ledger.endRestore(ctx, s, grace, how.Fault, nil, true)
	}
	return r.ledger.endRestore(ctx, s, grace, nil, how.Restored, true)
}

// endRestore ends a restore that no attempt holds: as failed, with why or with lost, or as completed
// with restored. A cancelled restore fails as cancelled, unless whether it was made is unknown.
// ErrUnsettled: an attempt has begun to change the target, and settled is false.
func (l *Ledger) endRestore(ctx context.Context, s export.Stranded, grace time.Duration, why *export.Fault, restored []byte, settled bool) (export.Outcome, error) {
	now, err := l.look(ctx, s.ID)
	if err != nil || now.Terminal {
		return ended(now, err)
	}
	if why == nil {
		why = &lost
	}
	if now.CancelledBy != nil && why.Code != codes.RestoreUnknown {
		why = export.CancelledBy(*now.CancelledBy)
	}
	o, b, err := failure(s, now, *why)
	if restored != nil && err == nil {
		o.State, o.Code, o.Permanent, o.Message, o.Restored, o.Payload = export.Completed, "", false, "", restored, nil
		b, err = encodeOutcome(o)
		o.Payload = now.Payload
	}
	if err != nil {
		return export.Outcome{}, err
	}
	done := false
	err = l.call(ctx, "end "+s.String(), func(ctx context.Context) error {
		err := l.pool.QueryRow(ctx, endRestore, grace, s.Project, s.Request, s.Attempt, b, string(o.Code), string(o.State), settled).Scan(&o.FinishedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		done = err == nil
		return err
	})
	if err != nil {
		return export.Outcome{}, err
	}
	if done {
		o.FinishedAt = o.FinishedAt.UTC()
		return o, nil
	}
	if now, err = l.look(ctx, s.ID); err != nil || now.Terminal {
		return ended(now, err)
	}
	standing, err := (&Restores{l}).Standing(ctx, s.ID)
	if err != nil {
		return export.Outcome{}, err
	}
	if standing.Target != nil && !settled && standing.Attempt == s.Attempt {
		return export.Outcome{}, fmt.Errorf("end %s: %w", s.ID, operation.ErrUnsettled)
	}
	return export.Outcome{}, fmt.Errorf("end %s: %w", s.ID, export.ErrNotLost)
}
