package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	markPublished = `
UPDATE pgcourier.requests SET published_at = clock_timestamp()
WHERE project_id = $1 AND request_id = $2 AND published_at IS NULL`

	findUnpublished = `
SELECT ` + recordColumns + ` FROM pgcourier.requests
WHERE published_at IS NULL AND state IN ('completed', 'failed') AND finished_at <= clock_timestamp() - $1::interval
ORDER BY finished_at LIMIT $2`

	// unheld: $1 the grace. A cancelled request has no grace.
	unheld = `CASE state WHEN 'running' THEN lease_until WHEN 'waiting' THEN touched_at END
    <= clock_timestamp() - CASE WHEN cancel_at IS NULL THEN $1::interval ELSE '0' END`

	findStranded = `
SELECT project_id, request_id, attempt, queue, queue_sequence, delivery,
    CASE state WHEN 'running' THEN lease_until ELSE touched_at END AS since, cancel_at IS NOT NULL AS cancelled
FROM pgcourier.requests WHERE state IN ('waiting', 'running') AND ` + unheld + `
ORDER BY touched_at LIMIT $2`

	lookAtRequest = `
SELECT state IN ('completed', 'failed') AS terminal, state = 'waiting' AS waiting, digest, attempt, origin,
    coalesce(started_at, created_at) AS began, CASE WHEN cancel_at IS NOT NULL THEN coalesce(cancel_by, '') END AS cancelled_by, ` + recordColumns + `
FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2`

	// The fence changes together with the state: a paused owner's token is then no longer
	// current. Attempts up to $4 were committed before $4 was read, so the second UPDATE
	// sees them all.
	failRequest = `
WITH request AS (
    UPDATE pgcourier.requests SET state = 'failed', attempt = attempt + 1, lease_until = NULL, outcome = $5, code = $6,
        touched_at = clock_timestamp(), finished_at = clock_timestamp()
    WHERE project_id = $2 AND request_id = $3 AND attempt = $4 AND (cancel_at IS NOT NULL) = ($6 = 'cancelled') AND ` + unheld + `
    RETURNING finished_at
), attempts AS (
    UPDATE pgcourier.attempts SET result = 'superseded', ended_at = clock_timestamp(),
        collect_after = CASE WHEN object IS NOT NULL THEN clock_timestamp() END
    WHERE project_id = $2 AND request_id = $3 AND result = 'running' AND EXISTS (SELECT FROM request)
)
SELECT finished_at FROM request`
)

// lost is the fault of a request that no worker has ended.
var lost = export.Fault{
	Code:    codes.WorkerLost,
	Message: "no worker ended the request within its deliveries and attempts",
}

// MarkPublished implements export.Outbox. A request without an outcome is an error.
func (l *Ledger) MarkPublished(ctx context.Context, id export.ID) error {
	return l.call(ctx, "mark "+id.String()+" published", func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, l.sql(markPublished), id.Project, id.Request)
		return err
	})
}

// Unpublished implements export.Reaper.
func (l *Ledger) Unpublished(ctx context.Context, olderThan time.Duration, limit int) ([]export.Outcome, error) {
	const what = "read unpublished outcomes"
	records, err := read[record](ctx, l, what, findUnpublished, olderThan, limit)
	if err != nil {
		return nil, err
	}
	out := make([]export.Outcome, len(records))
	for i, r := range records {
		if out[i], err = r.decode(); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return out, nil
}

// Stranded implements export.Reaper.
func (l *Ledger) Stranded(ctx context.Context, grace time.Duration, limit int) ([]export.Stranded, error) {
	type row struct {
		Project   string    `db:"project_id"`
		Request   string    `db:"request_id"`
		Attempt   int       `db:"attempt"`
		Queue     string    `db:"queue"`
		Sequence  uint64    `db:"queue_sequence"`
		Delivery  int       `db:"delivery"`
		Since     time.Time `db:"since"`
		Cancelled bool      `db:"cancelled"`
	}
	rows, err := read[row](ctx, l, "read stranded requests", findStranded, grace, limit)
	if err != nil {
		return nil, err
	}
	out := make([]export.Stranded, len(rows))
	for i, r := range rows {
		out[i] = export.Stranded{
			ID: export.ID{Project: r.Project, Request: r.Request}, Attempt: r.Attempt,
			Stream: r.Queue, Sequence: r.Sequence, Delivery: r.Delivery, Since: r.Since.UTC(), Cancelled: r.Cancelled,
		}
	}
	return out, nil
}

// FailStranded implements export.Reaper.
func (l *Ledger) FailStranded(ctx context.Context, s export.Stranded, grace time.Duration) (export.Outcome, error) {
	return l.fail(ctx, s, grace, lost)
}

// FailUnclaimed implements export.Reaper. It inserts and ends the request in two steps. A reaper
// that dies between them leaves a waiting request, which can still run.
func (l *Ledger) FailUnclaimed(ctx context.Context, r export.Request, d delivery.Delivery, grace time.Duration) (export.Outcome, error) {
	now, err := l.look(ctx, r.ID)
	known := !errors.Is(err, export.ErrNotLost)
	switch {
	case known && err != nil:
		return export.Outcome{}, err
	case known && [32]byte(now.Digest) != r.Digest:
		return export.Outcome{}, fmt.Errorf("fail %s: %w", r.ID, export.ErrConflict)
	case r.Refusal == nil && (!known || now.Waiting && now.CancelledBy == nil && now.Attempt < l.maxAttempts):
		return export.Outcome{}, fmt.Errorf("fail %s: %w", r.ID, export.ErrNotBegun)
	case !known:
		return l.refuse(ctx, r, d)
	}
	why := lost
	if r.Refusal != nil {
		why = *r.Refusal
	}
	return l.fail(ctx, export.Stranded{ID: r.ID, Attempt: now.Attempt}, grace, why)
}

// refuse records a refused request that is not in the ledger yet, and ends it.
func (l *Ledger) refuse(ctx context.Context, r export.Request, d delivery.Delivery) (export.Outcome, error) {
	from, err := encodeOrigin(r)
	if err != nil {
		return export.Outcome{}, err
	}
	err = l.call(ctx, "record refused "+r.String(), func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, l.sql(insertRequest), r.Project, r.Request, orEmpty(r.Payload), r.Digest[:],
			true, from, text(d.Stream), d.Sequence, d.Number)
		return err
	})
	if err != nil {
		return export.Outcome{}, err
	}
	now, err := l.look(ctx, r.ID)
	if err != nil {
		return export.Outcome{}, err
	}
	if [32]byte(now.Digest) != r.Digest {
		return export.Outcome{}, fmt.Errorf("fail %s: %w", r.ID, export.ErrConflict)
	}
	return l.fail(ctx, export.Stranded{ID: r.ID, Attempt: now.Attempt}, 0, *r.Refusal)
}

// row is a request as the reaper sees it.
type row struct {
	Terminal bool      `db:"terminal"`
	Waiting  bool      `db:"waiting"`
	Digest   []byte    `db:"digest"`
	Attempt  int       `db:"attempt"`
	Origin   []byte    `db:"origin"`
	Began    time.Time `db:"began"`
	// CancelledBy names the canceller and may be empty; nil: not cancelled.
	CancelledBy *string `db:"cancelled_by"`
	record
}

func (l *Ledger) look(ctx context.Context, id export.ID) (row, error) {
	rows, err := read[row](ctx, l, "look at "+id.String(), lookAtRequest, id.Project, id.Request)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("look at %s: %w", id, export.ErrNotLost)
	}
	if err != nil {
		return row{}, err
	}
	return rows[0], nil
}

// fail ends a request that no attempt holds, unless its fence has moved past s.Attempt. A cancelled
// request fails as cancelled, whatever other fault it has.
func (l *Ledger) fail(ctx context.Context, s export.Stranded, grace time.Duration, why export.Fault) (export.Outcome, error) {
	if l.ofRestores {
		return l.endRestore(ctx, s, grace, &why, nil, false)
	}
	now, err := l.look(ctx, s.ID)
	if err != nil || now.Terminal {
		return ended(now, err)
	}
	if now.CancelledBy != nil {
		why = *export.CancelledBy(*now.CancelledBy)
	}
	o, b, err := failure(s, now, why)
	if err != nil {
		return export.Outcome{}, err
	}
	done := false
	err = l.call(ctx, "fail "+s.String(), func(ctx context.Context) error {
		err := l.pool.QueryRow(ctx, failRequest, grace, s.Project, s.Request, s.Attempt, b, string(why.Code)).Scan(&o.FinishedAt)
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
	// The request is held, was claimed since, or has ended, perhaps by this call's own lost reply.
	if now, err = l.look(ctx, s.ID); err != nil || now.Terminal {
		return ended(now, err)
	}
	return export.Outcome{}, fmt.Errorf("fail %s: %w", s.ID, export.ErrNotLost)
}

func ended(r row, err error) (export.Outcome, error) {
	if err != nil {
		return export.Outcome{}, err
	}
	return r.decode()
}

// failure returns the outcome of a request that no worker has ended. FinishedAt is zero.
func failure(s export.Stranded, r row, why export.Fault) (export.Outcome, []byte, error) {
	var from origin
	if err := json.Unmarshal(r.Origin, &from); err != nil {
		return export.Outcome{}, nil, fmt.Errorf("decode origin of %s: %w", s.ID, err)
	}
	o := export.Outcome{
		ID: s.ID, State: export.Failed, Attempt: s.Attempt, StartedAt: r.Began.UTC(),
		RequestedBy: from.RequestedBy, Metadata: from.Metadata,
		Code: why.Code, Permanent: why.Code.Permanent(), Message: why.Message,
	}
	b, err := encodeOutcome(o)
	o.Payload = r.Payload
	return o, b, err
}
