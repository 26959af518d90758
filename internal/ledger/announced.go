package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// lockAnnounced locks a request that the ledger does not have as announced. The statement after it
	// then sees every attempt that was granted before.
	lockAnnounced = `
SELECT true FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2
    AND NOT (state = 'completed' AND (outcome ->> 'attempt')::integer = $3) FOR UPDATE`

	recordAnnounced = `
WITH request AS (
    UPDATE pgcourier.requests SET state = 'completed', attempt = greatest(attempt, $3), lease_until = NULL, outcome = $4, code = NULL,
        touched_at = clock_timestamp(), finished_at = coalesce(finished_at, clock_timestamp()), published_at = coalesce(published_at, clock_timestamp()),
        delivered_at = coalesce(delivered_at, clock_timestamp())
    WHERE project_id = $1 AND request_id = $2
), losers AS (
    UPDATE pgcourier.attempts SET result = 'superseded', ended_at = coalesce(ended_at, clock_timestamp()),
        collect_after = CASE WHEN object IS NOT NULL THEN clock_timestamp() END
    WHERE project_id = $1 AND request_id = $2 AND attempt <> $3 AND result IN ('running', 'completed')
)
INSERT INTO pgcourier.attempts AS a (project_id, request_id, attempt, worker, delivery, object, started_at, ended_at, result)
VALUES ($1, $2, $3, 'recovered', 0, nullif($5, ''), $6, $7, 'completed')
ON CONFLICT (project_id, request_id, attempt) DO UPDATE SET result = 'completed', ended_at = coalesce(a.ended_at, excluded.ended_at),
    object = coalesce(a.object, excluded.object), code = NULL, message = NULL, collect_after = NULL`
)

var _ export.Recorder = (*Ledger)(nil)

// RecordAnnounced implements export.Recorder. The request gets no link: it may have had one before.
func (l *Ledger) RecordAnnounced(ctx context.Context, m export.Manifest) (changed bool, err error) {
	what := "record the announced export of " + m.ID.String()
	if m.State != export.Completed || m.Artifact == nil || m.Attempt < 1 || m.StartedAt.IsZero() || m.FinishedAt.IsZero() {
		return false, fmt.Errorf("%s: %w", what, errNotCompleted)
	}
	out, err := encodeOutcome(m.Outcome)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	err = l.call(ctx, what, func(ctx context.Context) error {
		tx, err := l.pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		err = tx.QueryRow(ctx, lockAnnounced, m.Project, m.Request, m.Attempt).Scan(&changed)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, recordAnnounced, m.Project, m.Request, m.Attempt, out, m.Key, m.StartedAt, m.FinishedAt); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	return changed && err == nil, err
}
