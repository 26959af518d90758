package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

var _ export.Cleaner = (*Ledger)(nil)

// The index requests_over has these conditions and this order. Attempts, verifications and expiries
// are deleted with their request. A request stays until the collector is done and its deletion is
// announced. Storage notes stay until their parts are deleted.
const forgetRequests = `
WITH over AS (
    SELECT r.project_id, r.request_id FROM pgcourier.requests r
    WHERE r.published_at IS NOT NULL AND (r.state = 'failed' OR r.removed_at IS NOT NULL)
        AND greatest(r.published_at, r.removed_at) <= least(clock_timestamp() - $1::interval, $2)
        AND NOT EXISTS (
            SELECT FROM pgcourier.attempts a
            WHERE a.project_id = r.project_id AND a.request_id = r.request_id AND a.collect_after IS NOT NULL)
        AND NOT EXISTS (
            SELECT FROM pgcourier.expiries e
            WHERE e.project_id = r.project_id AND e.request_id = r.request_id AND e.deleted_at IS NOT NULL AND e.announced_at IS NULL)
    ORDER BY greatest(r.published_at, r.removed_at) LIMIT $3
    FOR UPDATE OF r SKIP LOCKED
)
DELETE FROM pgcourier.requests r USING over WHERE r.project_id = over.project_id AND r.request_id = over.request_id`

// Forget implements export.Cleaner.
func (l *Ledger) Forget(ctx context.Context, keep time.Duration, before time.Time, limit int) (forgotten int, err error) {
	err = l.call(ctx, "forget old requests", func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, forgetRequests, keep, before, limit)
		forgotten = int(tag.RowsAffected())
		return err
	})
	return forgotten, err
}
