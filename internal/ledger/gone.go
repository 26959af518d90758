package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Gone is an export that was deleted.
type Gone struct {
	export.ID
	RemovedAt time.Time
	Reason    string // the retention rule; empty: deleted by command
}

const findGone = `
SELECT r.project_id, r.request_id, r.removed_at, coalesce(e.reason, '') AS reason
FROM pgcourier.requests r LEFT JOIN pgcourier.expiries e ON e.project_id = r.project_id AND e.request_id = r.request_id
    AND e.deleted_at IS NOT NULL
WHERE r.removed_at IS NOT NULL AND (r.request_id = $1 OR r.project_id || '/' || r.request_id = $1
    OR EXISTS (SELECT FROM pgcourier.attempts a WHERE a.project_id = r.project_id AND a.request_id = r.request_id AND a.object = $1))
ORDER BY r.removed_at DESC LIMIT 10`

// Gone returns the deleted exports that match name: a request id, PROJECT/REQUEST or an object's
// key. The last deleted comes first.
func (l *Ledger) Gone(ctx context.Context, name string) ([]Gone, error) {
	type row struct {
		Project   string    `db:"project_id"`
		Request   string    `db:"request_id"`
		RemovedAt time.Time `db:"removed_at"`
		Reason    string    `db:"reason"`
	}
	rows, err := read[row](ctx, l, "look for the deleted export "+name, findGone, text(name))
	out := make([]Gone, len(rows))
	for i, r := range rows {
		out[i] = Gone{export.ID{Project: r.Project, Request: r.Request}, r.RemovedAt.UTC(), r.Reason}
	}
	return out, err
}
