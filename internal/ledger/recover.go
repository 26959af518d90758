package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// The outcome counts as published. If the request still has a message in the queue, this row
	// answers its next delivery; all others were announced long ago. Publishing an outcome that the
	// broker no longer keeps would send consumers an old event.
	//
	// The link that the request asked for counts as issued too. It may have been used up, revoked or
	// expired, and the records that would tell are gone.
	recoverRequest = `
INSERT INTO pgcourier.requests (project_id, request_id, payload, digest, refused, origin, state, attempt, worker,
    queue, queue_sequence, delivery, outcome, created_at, started_at, finished_at, published_at, delivered_at)
VALUES ($1, $2, $3, $4, false, $5, 'completed', $6, 'recovered', 'recovered', 0, 0, $7, $8, $8, $9, clock_timestamp(), clock_timestamp())
ON CONFLICT (project_id, request_id) DO NOTHING`

	recoverAttempt = `
INSERT INTO pgcourier.attempts (project_id, request_id, attempt, worker, delivery, object, started_at, ended_at, result)
VALUES ($1, $2, $3, 'recovered', 0, $4, $5, $6, 'completed') ON CONFLICT DO NOTHING`

	removeExport = `
UPDATE pgcourier.requests SET removed_at = coalesce(removed_at, clock_timestamp())
WHERE project_id = $1 AND request_id = $2 AND state = 'completed'`
)

// Recover records a completed request from its export's manifest, with the request's Payload and
// Digest as they were claimed. It does not change a recorded request, and reports it as not
// recovered. Repeating the call changes nothing. Neither the outcome is announced nor a link issued.
func (l *Ledger) Recover(ctx context.Context, r export.Request, m export.Manifest) (recovered bool, err error) {
	what := "recover " + m.ID.String()
	if m.State != export.Completed || m.Artifact == nil || m.Attempt < 1 || r.ID != m.ID || m.StartedAt.IsZero() || m.FinishedAt.IsZero() {
		return false, fmt.Errorf("%s: the manifest is not that of a completed request: %w", what, errNotCompleted)
	}
	from, err := encodeOrigin(r)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
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
		tag, err := tx.Exec(ctx, recoverRequest, m.Project, m.Request, orEmpty(r.Payload), r.Digest[:], from, m.Attempt, out, m.StartedAt, m.FinishedAt)
		if err != nil {
			return err
		}
		if recovered = tag.RowsAffected() == 1; !recovered {
			return nil
		}
		if _, err := tx.Exec(ctx, recoverAttempt, m.Project, m.Request, m.Attempt, m.Key, m.StartedAt, m.FinishedAt); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	return recovered && err == nil, err
}

var errNotCompleted = errors.New("not completed")

// Remove records that a completed request's export was deleted. known is false if there is no such
// request. The time of the first call is kept.
func (l *Ledger) Remove(ctx context.Context, id export.ID) (known bool, err error) {
	err = l.call(ctx, "note the removal of "+id.String(), func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, removeExport, id.Project, id.Request)
		known = err == nil && tag.RowsAffected() == 1
		return err
	})
	return known, err
}
