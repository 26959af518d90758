package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// persistent is the number of pruner runs that must fail to delete an export before it counts
// as failing: a single failure may pass by itself.
const persistent = 3

const (
	// going: exports that are to be deleted, without those that were removed meanwhile.
	going = `FROM pgcourier.expiries e JOIN pgcourier.requests r USING (project_id, request_id)
WHERE e.warned_at IS NOT NULL AND e.deleted_at IS NULL AND ` + stored

	retentionProgress = `
SELECT count(*) AS waiting, count(*) FILTER (WHERE e.tries >= $1) AS failing, (SELECT completed_at FROM pgcourier.pruning) AS completed_at
` + going

	failingDeletions = `
SELECT e.project_id, e.request_id, e.tries, coalesce(e.fault, '') AS fault, e.deleting_at AS since, count(*) OVER () AS total
` + going + ` AND e.tries >= $1 ORDER BY e.deleting_at, e.project_id, e.request_id LIMIT $2`
)

// RetentionProgress is the state of retention.
type RetentionProgress struct {
	Waiting     int       // exports with a published warning or a begun deletion
	Failing     int       // of these, exports that at least three runs could not delete
	CompletedAt time.Time // the end of the last complete run; zero: there was none
}

// RetentionProgress reads the exports that retention is to delete.
func (l *Ledger) RetentionProgress(ctx context.Context) (RetentionProgress, error) {
	type row struct {
		Waiting     int        `db:"waiting"`
		Failing     int        `db:"failing"`
		CompletedAt *time.Time `db:"completed_at"`
	}
	rows, err := read[row](ctx, l, "look how far retention is", retentionProgress, persistent)
	if err != nil || len(rows) == 0 {
		return RetentionProgress{}, err
	}
	return RetentionProgress{rows[0].Waiting, rows[0].Failing, orZero(rows[0].CompletedAt)}, nil
}

// FailingDeletion is an export that at least three runs of the pruner could not delete.
type FailingDeletion struct {
	export.ID
	Tries int
	Fault string    // of the last one
	Since time.Time // when the deletion began
}

// FailingDeletions returns up to limit failing deletions, the longest failing first, and their
// total number.
func (l *Ledger) FailingDeletions(ctx context.Context, limit int) (failing []FailingDeletion, total int, err error) {
	type row struct {
		Project string    `db:"project_id"`
		Request string    `db:"request_id"`
		Tries   int       `db:"tries"`
		Fault   string    `db:"fault"`
		Since   time.Time `db:"since"`
		Total   int       `db:"total"`
	}
	rows, err := read[row](ctx, l, "look for deletions that fail", failingDeletions, persistent, limit)
	for _, r := range rows {
		failing = append(failing, FailingDeletion{export.ID{Project: r.Project, Request: r.Request}, r.Tries, r.Fault, r.Since.UTC()})
		total = r.Total
	}
	return failing, total, err
}
