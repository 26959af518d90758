package ledger

import (
	"context"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/export"
)

var _ export.Removals = (*Ledger)(nil)

const (
	orderRemoval = `
WITH stored AS (
    SELECT project_id, request_id, state = 'completed' AS completed FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2
), ordered AS (
    INSERT INTO pgcourier.removal_orders (project_id, request_id, ordered_by)
    SELECT project_id, request_id, $3 FROM stored WHERE completed ON CONFLICT (project_id, request_id) DO NOTHING RETURNING 1
), noted AS (` + addCall + ` SELECT 'done', $3, $4, $5, $1, $2 FROM ordered)
SELECT completed FROM stored`

	openRemovals = `
SELECT o.project_id, o.request_id, a.object
FROM pgcourier.removal_orders o
JOIN pgcourier.attempts a ON a.project_id = o.project_id AND a.request_id = o.request_id AND a.result = 'completed' AND a.object IS NOT NULL
WHERE o.done_at IS NULL ORDER BY o.ordered_at LIMIT $1`

	removalDone = `
WITH done AS (
    UPDATE pgcourier.removal_orders SET done_at = coalesce(done_at, clock_timestamp()), fault = NULL
    WHERE project_id = $1 AND request_id = $2 RETURNING done_at
)
UPDATE pgcourier.requests SET removed_at = coalesce(removed_at, done.done_at) FROM done
WHERE project_id = $1 AND request_id = $2 AND state = 'completed'`

	removalFailed = `
UPDATE pgcourier.removal_orders SET tries = tries + 1, fault = $3 WHERE project_id = $1 AND request_id = $2 AND done_at IS NULL`
)

// OrderRemoval records the order to delete a completed request's export, together with the call. A
// sweeper deletes the export. Repeating it is safe. export.ErrUnknown: there is no such request.
// export.ErrNothingStored: it has not completed.
func (l *Ledger) OrderRemoval(ctx context.Context, id export.ID, c Call) error {
	what := "order the removal of " + id.String()
	rows, err := read[struct {
		Completed bool `db:"completed"`
	}](ctx, l, what, orderRemoval, id.Project, id.Request, text(c.Subject), text(c.Address), c.Action)
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return fmt.Errorf("%s: %w", what, export.ErrUnknown)
	case !rows[0].Completed:
		return fmt.Errorf("%s: %w", what, export.ErrNothingStored)
	}
	return nil
}

// Removals implements export.Removals.
func (l *Ledger) Removals(ctx context.Context, limit int) ([]export.Removal, error) {
	type row struct {
		Project string `db:"project_id"`
		Request string `db:"request_id"`
		Object  string `db:"object"`
	}
	rows, err := read[row](ctx, l, "list what is to be removed", openRemovals, limit)
	out := make([]export.Removal, len(rows))
	for i, r := range rows {
		out[i] = export.Removal{ID: export.ID{Project: r.Project, Request: r.Request}, Object: r.Object}
	}
	return out, err
}

// RemovalDone implements export.Removals.
func (l *Ledger) RemovalDone(ctx context.Context, id export.ID) error {
	return l.note(ctx, "note the removal of "+id.String(), nil, removalDone, id.Project, id.Request)
}

// RemovalFailed implements export.Removals.
func (l *Ledger) RemovalFailed(ctx context.Context, id export.ID, fault string) error {
	return l.note(ctx, "note the failed removal of "+id.String(), nil, removalFailed, id.Project, id.Request, text(fault))
}
