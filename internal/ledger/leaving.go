package ledger

import (
	"context"
	"time"
)

// Leaving is an export that retention will delete, or has deleted.
type Leaving struct {
	Project    string     `db:"project_id"`
	Request    string     `db:"request_id"`
	FinishedAt time.Time  `db:"finished_at"`
	Reason     string     `db:"reason"`
	WarnedAt   *time.Time `db:"warned_at"`
	DeletingAt *time.Time `db:"deleting_at"`
	DeletedAt  *time.Time `db:"deleted_at"` // nil: it is stored
	Tries      int        `db:"tries"`
	Fault      string     `db:"fault"`
}

// LeavingFilter selects exports that retention deletes. The zero value selects all that are still stored.
type LeavingFilter struct {
	Projects []string // nil: all
	// From and Until select what was deleted between them, or goes between them at the earliest. Zero: what is
	// still stored.
	From, Until time.Time
	Deleted     bool          // with From: only what was deleted
	Notice      time.Duration // between the warning and the deletion
	Skip, Limit int
}

// RetentionDay counts exports of one project that retention deletes, or has deleted, on one day for one reason.
type RetentionDay struct {
	Day     int    `db:"day"` // its index; -1: before the first day; their number: after the last one
	Project string `db:"project_id"`
	Reason  string `db:"reason"`
	Gone    bool   `db:"gone"` // they were deleted
	Count   int    `db:"count"`
	All     int    `db:"all_of_day"` // of every project and reason, with the same Day and Gone
}

// CalendarFilter selects what a calendar of retention shows.
type CalendarFilter struct {
	Projects []string      // nil: all
	Days     []time.Time   // the beginnings of the days, and the end of the last one
	Notice   time.Duration // between the warning and the deletion
	Each     int           // at most so many rows of each Day and Gone
}

const (
	// goesAt is when an export was deleted, or goes at the earliest. If the warning is to be repeated, the notice
	// begins now at the earliest.
	goesAt = `
CASE WHEN e.deleted_at IS NOT NULL THEN e.deleted_at WHEN e.deleting_at IS NOT NULL THEN now()
    ELSE greatest(now(), coalesce(e.warned_at, now()) + $2::interval) END`

	leavingColumns = `
SELECT e.project_id, e.request_id, r.finished_at, e.reason, e.warned_at, e.deleting_at, e.deleted_at, e.tries, coalesce(e.fault, '') AS fault
FROM pgcourier.expiries e JOIN pgcourier.requests r ON r.project_id = e.project_id AND r.request_id = e.request_id
WHERE ($1::text[] IS NULL OR e.project_id = ANY ($1))`

	leaving = leavingColumns + `
AND e.deleted_at IS NULL ORDER BY e.deleting_at NULLS LAST, e.warned_at NULLS LAST, e.project_id, e.request_id OFFSET $2 LIMIT $3`

	leavingBetween = leavingColumns + `
AND (` + goesAt + `) >= $3::timestamptz AND (` + goesAt + `) < $4::timestamptz AND (NOT $5::boolean OR e.deleted_at IS NOT NULL)
ORDER BY e.deleted_at IS NOT NULL, e.project_id, e.request_id OFFSET $6 LIMIT $7`

	retentionDays = `
WITH going AS (
    SELECT width_bucket((` + goesAt + `), $3::timestamptz[]) - 1 AS day, e.project_id, e.reason, e.deleted_at IS NOT NULL AS gone, count(*)::integer AS count
    FROM pgcourier.expiries e
    WHERE ($1::text[] IS NULL OR e.project_id = ANY ($1))
        AND (e.deleted_at IS NULL OR e.deleted_at >= ($3::timestamptz[])[1] AND e.deleted_at < ($3::timestamptz[])[cardinality($3::timestamptz[])])
    GROUP BY 1, 2, 3, 4
), placed AS (
    SELECT *, (sum(count) OVER (PARTITION BY day, gone))::integer AS all_of_day,
        row_number() OVER (PARTITION BY day, gone ORDER BY count DESC, project_id, reason) AS place
    FROM going
)
SELECT day, project_id, reason, gone, count, all_of_day FROM placed WHERE place <= $4 ORDER BY day, gone DESC, place`

	keptDays = `
SELECT width_bucket(r.finished_at, $2::timestamptz[]) - 1 AS day, count(*)::integer AS count
FROM pgcourier.requests r
WHERE r.state = 'completed' AND r.removed_at IS NULL AND ($1::text[] IS NULL OR r.project_id = ANY ($1))
    AND r.finished_at >= ($2::timestamptz[])[1] AND r.finished_at < ($2::timestamptz[])[cardinality($2::timestamptz[])]
    AND NOT EXISTS (SELECT FROM pgcourier.expiries e WHERE e.project_id = r.project_id AND e.request_id = r.request_id)
GROUP BY 1`
)

// Leaving returns exports that retention deletes: those that are still stored, the next one first, or those of a
// time, by project.
func (l *Ledger) Leaving(ctx context.Context, f LeavingFilter) ([]Leaving, error) {
	const what = "list what retention will delete"
	var rows []Leaving
	var err error
	if f.From.IsZero() {
		rows, err = read[Leaving](ctx, l, what, leaving, f.Projects, f.Skip, f.Limit)
	} else {
		rows, err = read[Leaving](ctx, l, what, leavingBetween, f.Projects, f.Notice, f.From, f.Until, f.Deleted, f.Skip, f.Limit)
	}
	for i := range rows {
		r := &rows[i]
		r.FinishedAt, r.WarnedAt, r.DeletingAt, r.DeletedAt = r.FinishedAt.UTC(), utc(r.WarnedAt), utc(r.DeletingAt), utc(r.DeletedAt)
	}
	return rows, err
}

// RetentionDays counts what retention deletes on each day, in the order of the days: first what was deleted, and
// of it first the projects with most of it. What still goes is also counted before the first day and after
// the last one.
func (l *Ledger) RetentionDays(ctx context.Context, f CalendarFilter) ([]RetentionDay, error) {
	return read[RetentionDay](ctx, l, "count what retention deletes by day", retentionDays, f.Projects, f.Notice, f.Days, f.Each)
}

// KeptDays counts the stored exports that were completed on each day and that retention has not announced to delete.
func (l *Ledger) KeptDays(ctx context.Context, f CalendarFilter) ([]int, error) {
	type row struct {
		Day   int `db:"day"`
		Count int `db:"count"`
	}
	rows, err := read[row](ctx, l, "count what is kept by day", keptDays, f.Projects, f.Days)
	out := make([]int, max(len(f.Days)-1, 0))
	for _, r := range rows {
		if r.Day >= 0 && r.Day < len(out) {
			out[r.Day] = r.Count
		}
	}
	return out, err
}
