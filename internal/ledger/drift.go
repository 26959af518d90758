package ledger

import (
	"context"
)

const findStrays = `
SELECT k FROM unnest($1::text[]) AS k
WHERE NOT EXISTS (
    SELECT FROM pgcourier.attempts a JOIN pgcourier.requests r USING (project_id, request_id)
    WHERE a.object = k AND r.removed_at IS NULL)
ORDER BY k`

// Strays returns the objects that no known attempt has stored, and those of deleted exports.
func (l *Ledger) Strays(ctx context.Context, objects []string) ([]string, error) {
	type row struct {
		Object string `db:"k"`
	}
	rows, err := read[row](ctx, l, "look for objects without a record", findStrays, objects)
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r.Object
	}
	return out, err
}
