package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	findRequest = `
SELECT project_id, request_id FROM pgcourier.requests
WHERE request_id = $1 AND ($2 = '' OR project_id = $2) ORDER BY project_id LIMIT 2`

	// A repeated cancel keeps the first one's time and name.
	noteCancel = `
UPDATE pgcourier.requests SET cancel_at = clock_timestamp(), cancel_by = $3, touched_at = clock_timestamp()
WHERE project_id = $1 AND request_id = $2 AND state IN ('waiting', 'running') AND cancel_at IS NULL`
)

// Find implements export.Cancelling.
func (l *Ledger) Find(ctx context.Context, request, project string) ([]export.ID, error) {
	type row struct {
		Project string `db:"project_id"`
		Request string `db:"request_id"`
	}
	rows, err := read[row](ctx, l, "find "+request, l.sql(findRequest), request, project)
	if err != nil {
		return nil, err
	}
	out := make([]export.ID, len(rows))
	for i, r := range rows {
		out[i] = export.ID(r)
	}
	return out, nil
}

// Cancel implements export.Cancelling.
func (l *Ledger) Cancel(ctx context.Context, id export.ID, by string) (export.Cancellation, error) {
	what := "cancel " + id.String()
	err := l.call(ctx, what, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, l.sql(noteCancel), id.Project, id.Request, text(by))
		return err
	})
	if err != nil {
		return export.Cancellation{}, err
	}
	now, err := l.look(ctx, id)
	switch {
	case errors.Is(err, export.ErrNotLost):
		return export.Cancellation{}, fmt.Errorf("%s: %w", what, export.ErrUnknown)
	case err != nil:
		return export.Cancellation{}, err
	}
	// A request that no attempt holds is ended here. Otherwise its owner ends it, or the
	// process that finds the owner's lease expired.
	o, err := l.fail(ctx, export.Stranded{ID: id, Attempt: now.Attempt}, 0, *export.CancelledBy(by))
	if errors.Is(err, export.ErrNotLost) {
		return export.Cancellation{}, nil
	}
	if err != nil {
		return export.Cancellation{}, err
	}
	return export.Cancellation{Outcome: &o}, nil
}

// CancelQueued implements export.Cancelling. It records and cancels in two steps; between
// them a worker may claim the request, which is then cancelled as a running one.
func (l *Ledger) CancelQueued(ctx context.Context, r export.Request, d delivery.Delivery, by string) (export.Cancellation, error) {
	from, err := encodeOrigin(r)
	if err != nil {
		return export.Cancellation{}, err
	}
	err = l.call(ctx, "record "+r.String(), func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, l.sql(insertRequest), r.Project, r.Request, orEmpty(r.Payload), r.Digest[:],
			r.Refusal != nil, from, text(d.Stream), d.Sequence, d.Number)
		return err
	})
	if err != nil {
		return export.Cancellation{}, err
	}
	return l.Cancel(ctx, r.ID, by)
}
