package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// onRestores turns the statements of requests into those of restores. The protocol is the same, with
// two differences. A cancel does not keep an attempt from recording that the target has committed. An
// attempt that fails after one has begun to place needs the target's refusal: $9 of finishAttempt.
var onRestores = strings.NewReplacer(
	"pgcourier.requests", "pgcourier.restores",
	"pgcourier.attempts", "pgcourier.restore_attempts",
	"pgcourier project ", "pgcourier restore into ",
	"(cancel_at IS NULL OR $4 = 'failed' AND $7 = 'cancelled')", `(cancel_at IS NULL OR $4 = 'completed' OR $4 = 'failed' AND $7 = 'cancelled')
        AND ($4 <> 'failed' OR placing_at IS NULL OR $9)`,
)

// sql returns a statement for the tables of l.
func (l *Ledger) sql(statement string) string {
	if !l.ofRestores {
		return statement
	}
	return onRestores.Replace(statement)
}

const (
	resolveRestore = `
UPDATE pgcourier.restores SET from_project = coalesce(from_project, $4), from_request = coalesce(from_request, $5)
WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND state = 'running'
RETURNING from_project, from_request`

	beginPlacing = `
UPDATE pgcourier.restores SET placing_at = coalesce(placing_at, clock_timestamp()), target = coalesce(target, $4)
WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND state = 'running'
RETURNING target`

	restoreStanding = `
SELECT coalesce(from_project, '') AS from_project, coalesce(from_request, '') AS from_request, target, coalesce(marker, '') AS marker, attempt,
    CASE WHEN NOT refused THEN payload END AS payload, unanswered_at IS NOT NULL AS unanswered,
    clock_timestamp() - CASE state WHEN 'running' THEN lease_until ELSE touched_at END AS age
FROM pgcourier.restores WHERE project_id = $1 AND request_id = $2`

	// A restore with kept schemas stays until these are known to be gone: see findKept.
	forgetRestores = `
WITH over AS (
    SELECT project_id, request_id FROM pgcourier.restores
    WHERE published_at IS NOT NULL AND published_at <= least(clock_timestamp() - $1::interval, $2)
        AND (kept_gone_at IS NOT NULL OR outcome -> 'restored' ->> 'kept_until' IS NULL)
    ORDER BY published_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM pgcourier.restores r USING over WHERE r.project_id = over.project_id AND r.request_id = over.request_id`

	latestExport = `
SELECT r.request_id FROM pgcourier.requests r
LEFT JOIN pgcourier.verifications v ON v.project_id = r.project_id AND v.request_id = r.request_id
WHERE r.project_id = $1 AND r.state = 'completed' AND r.removed_at IS NULL
    AND (v.damaged = false OR NOT $2 AND v.damaged IS DISTINCT FROM true)
ORDER BY r.finished_at DESC, r.request_id DESC LIMIT 1`
)

// LatestExport returns the request of a project's newest export that is stored and not known to be
// damaged. verified: that was verified. Empty: there is none.
func (l *Ledger) LatestExport(ctx context.Context, project string, verified bool) (request string, err error) {
	err = l.call(ctx, "find the latest export of "+project, func(ctx context.Context) error {
		err := l.pool.QueryRow(ctx, latestExport, project, verified).Scan(&request)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return request, err
}

// Restores is the ledger of restores. Its protocol is that of exports, on tables of its own.
type Restores struct{ ledger *Ledger }

var (
	_ operation.Ledger = (*Restores)(nil)
	_ export.Outbox    = (*Restores)(nil)
	_ export.Cleaner   = (*Restores)(nil)

	_ export.Cancelling = (*Restores)(nil)
)

// Restores returns the ledger of restores in the same database.
func (l *Ledger) Restores() *Restores {
	return &Restores{&Ledger{pool: l.pool, lease: l.lease, maxAttempts: l.maxAttempts, timeout: l.timeout, ofRestores: true}}
}

// Claim implements operation.Ledger.
func (r *Restores) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	return r.ledger.Claim(ctx, c)
}

// Renew implements operation.Ledger.
func (r *Restores) Renew(ctx context.Context, t export.Token) error { return r.ledger.Renew(ctx, t) }

// Finish implements operation.Ledger.
func (r *Restores) Finish(ctx context.Context, t export.Token, e export.Ending) error {
	err := r.ledger.finish(ctx, t, e, false)
	if e.Outcome == nil || e.Outcome.State != export.Failed || !errors.Is(err, export.ErrSuperseded) && !errors.Is(err, export.ErrCancelled) {
		return err
	}
	s, standingErr := r.Standing(ctx, t.ID)
	switch {
	case standingErr != nil:
		return standingErr
	case s.Target != nil && s.Attempt == t.Attempt:
		return fmt.Errorf("finish %s: %w", t, operation.ErrUnsettled)
	}
	return err
}

// FinishSettled implements operation.Ledger.
func (r *Restores) FinishSettled(ctx context.Context, t export.Token, e export.Ending) error {
	return r.ledger.finish(ctx, t, e, true)
}

// MarkPublished implements export.Outbox.
func (r *Restores) MarkPublished(ctx context.Context, id export.ID) error {
	return r.ledger.MarkPublished(ctx, id)
}

// Unpublished implements operation.Ledger.
func (r *Restores) Unpublished(ctx context.Context, olderThan time.Duration, limit int) ([]export.Outcome, error) {
	return r.ledger.Unpublished(ctx, olderThan, limit)
}

// Stranded implements operation.Ledger.
func (r *Restores) Stranded(ctx context.Context, grace time.Duration, limit int) ([]export.Stranded, error) {
	return r.ledger.Stranded(ctx, grace, limit)
}

// FailStranded implements operation.Ledger.
func (r *Restores) FailStranded(ctx context.Context, s export.Stranded, grace time.Duration) (export.Outcome, error) {
	return r.ledger.FailStranded(ctx, s, grace)
}

// FailUnclaimed implements operation.Ledger.
func (r *Restores) FailUnclaimed(ctx context.Context, q export.Request, d delivery.Delivery, grace time.Duration) (export.Outcome, error) {
	return r.ledger.FailUnclaimed(ctx, q, d, grace)
}

// Find implements export.Cancelling.
func (r *Restores) Find(ctx context.Context, id, project string) ([]export.ID, error) {
	return r.ledger.Find(ctx, id, project)
}

// Cancel records that a restore is to end, and ends it if no attempt holds it and none has begun to
// change the target. Otherwise its outcome is nil: its owner or the sweeper ends it. A restore that
// the target has committed completes all the same. ErrUnknown.
func (r *Restores) Cancel(ctx context.Context, id export.ID, by string) (export.Cancellation, error) {
	c, err := r.ledger.Cancel(ctx, id, by)
	if errors.Is(err, operation.ErrUnsettled) {
		return export.Cancellation{}, nil
	}
	return c, err
}

// Resolve implements operation.Ledger.
func (r *Restores) Resolve(ctx context.Context, t export.Token, from export.ID) (export.ID, error) {
	err := r.fenced(ctx, "resolve the export of "+t.String(), resolveRestore,
		[]any{t.Project, t.Request, t.Attempt, from.Project, from.Request}, &from.Project, &from.Request)
	return from, err
}

// BeginPlacing implements operation.Ledger.
func (r *Restores) BeginPlacing(ctx context.Context, t export.Token, target []byte) (first []byte, err error) {
	err = r.fenced(ctx, "begin to place "+t.String(), beginPlacing, []any{t.Project, t.Request, t.Attempt, target}, &first)
	return first, err
}

// fenced runs a statement that changes nothing for an attempt that no longer owns its restore.
func (r *Restores) fenced(ctx context.Context, what, statement string, args []any, into ...any) error {
	return r.ledger.call(ctx, what, func(ctx context.Context) error {
		err := r.ledger.pool.QueryRow(ctx, statement, args...).Scan(into...)
		if errors.Is(err, pgx.ErrNoRows) {
			return export.ErrSuperseded
		}
		return err
	})
}

// Standing implements operation.Ledger.
func (r *Restores) Standing(ctx context.Context, id export.ID) (operation.Standing, error) {
	type row struct {
		Project    string        `db:"from_project"`
		Request    string        `db:"from_request"`
		Target     []byte        `db:"target"`
		Marker     string        `db:"marker"`
		Attempt    int           `db:"attempt"`
		Payload    []byte        `db:"payload"`
		Age        time.Duration `db:"age"`
		Unanswered bool          `db:"unanswered"`
	}
	rows, err := read[row](ctx, r.ledger, "look at the restore "+id.String(), restoreStanding, id.Project, id.Request)
	if err != nil || len(rows) == 0 {
		return operation.Standing{}, err
	}
	row0 := rows[0]
	return operation.Standing{
		From: export.ID{Project: row0.Project, Request: row0.Request}, Target: row0.Target, Marker: row0.Marker,
		Attempt: row0.Attempt, Payload: row0.Payload, Age: row0.Age, Unanswered: row0.Unanswered,
	}, nil
}

// Forget implements export.Cleaner.
func (r *Restores) Forget(ctx context.Context, keep time.Duration, before time.Time, limit int) (forgotten int, err error) {
	err = r.ledger.call(ctx, "forget old restores", func(ctx context.Context) error {
		tag, err := r.ledger.pool.Exec(ctx, forgetRestores, keep, before, limit)
		forgotten = int(tag.RowsAffected())
		return err
	})
	return forgotten, err
}
