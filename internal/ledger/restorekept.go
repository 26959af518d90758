package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// The target's clock decides what is due. This one only says when to ask, an hour early.
	findKept = `
SELECT project_id, request_id, target, (outcome -> 'restored' ->> 'kept_until')::timestamptz AS until,
    ARRAY(SELECT json_array_elements_text(outcome -> 'restored' -> 'kept')) AS schemas,
    ARRAY(SELECT json_array_elements_text(outcome -> 'restored' -> 'schemas')) AS placed
FROM pgcourier.restores WHERE state = 'completed' AND kept_gone_at IS NULL
    AND (outcome -> 'restored' ->> 'kept_until')::timestamptz <= clock_timestamp() + interval '1 hour'
ORDER BY project_id, request_id`

	noteKeptGone = `
UPDATE pgcourier.restores SET kept_gone_at = clock_timestamp()
WHERE project_id = $1 AND request_id = $2 AND state = 'completed' AND kept_gone_at IS NULL`
)

// Kept is what a restore has set aside in its target.
type Kept struct {
	export.ID
	Target  []byte    // as BeginPlacing recorded it
	Schemas []string  // that hold it
	Placed  []string  // schemas that the restore has written
	Until   time.Time // by the target's clock
}

// Keeping returns what restores have set aside that is due now or within the hour, and that is not
// known to be gone, in the order of projects.
func (r *Restores) Keeping(ctx context.Context) ([]Kept, error) {
	type row struct {
		Project string    `db:"project_id"`
		Request string    `db:"request_id"`
		Target  []byte    `db:"target"`
		Until   time.Time `db:"until"`
		Schemas []string  `db:"schemas"`
		Placed  []string  `db:"placed"`
	}
	rows, err := read[row](ctx, r.ledger, "list what restores have kept", findKept)
	out := make([]Kept, len(rows))
	for i, row := range rows {
		out[i] = Kept{export.ID{Project: row.Project, Request: row.Request}, row.Target, row.Schemas, row.Placed, row.Until.UTC()}
	}
	return out, err
}

// KeptGone records that the target no longer has what a restore has set aside.
func (r *Restores) KeptGone(ctx context.Context, id export.ID) error {
	return r.ledger.call(ctx, "record that what "+id.String()+" has kept is gone", func(ctx context.Context) error {
		_, err := r.ledger.pool.Exec(ctx, noteKeptGone, id.Project, id.Request)
		return err
	})
}
