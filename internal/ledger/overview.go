package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// ProjectState is a project with its newest completed export.
type ProjectState struct {
	Project string     `db:"project_id"`
	Request string     `db:"request_id"`  // of that export; empty: there is none
	EndedAt *time.Time `db:"finished_at"` // nil: no export has completed
}

// Hour is what became of the requests that were first seen within one hour.
type Hour struct {
	Ago     int           `db:"ago"` // 0: the last sixty minutes
	State   export.State  `db:"state"`
	Count   int           `db:"count"`
	Longest time.Duration `db:"longest"` // from the first attempt to the end; 0: none has ended
}

const (
	// Each step of the recursion is one look into requests_completed: the next project, and its newest
	// success. Projects without one are looked for among the newest failures and what is open.
	projectStates = `
WITH RECURSIVE succeeded AS (
    (SELECT project_id, request_id, finished_at FROM pgcourier.requests WHERE state = 'completed' AND $1::text[] IS NULL
    ORDER BY project_id DESC, finished_at DESC LIMIT 1)
    UNION ALL
    SELECT n.* FROM succeeded s CROSS JOIN LATERAL (
        SELECT r.project_id, r.request_id, r.finished_at FROM pgcourier.requests r WHERE r.state = 'completed' AND r.project_id < s.project_id
        ORDER BY r.project_id DESC, r.finished_at DESC LIMIT 1
    ) n
), never AS (
    SELECT DISTINCT f.project_id FROM (
        (SELECT r.project_id FROM pgcourier.requests r WHERE r.state = 'failed' AND $1::text[] IS NULL ORDER BY r.created_at DESC LIMIT 2000)
        UNION
        (SELECT r.project_id FROM pgcourier.requests r WHERE r.state IN ('waiting', 'running') AND $1::text[] IS NULL
        ORDER BY r.touched_at DESC LIMIT 2000)
    ) f WHERE NOT EXISTS (SELECT FROM pgcourier.requests r WHERE r.project_id = f.project_id AND r.state = 'completed')
), chosen AS (
    SELECT q.project AS project_id, n.request_id, n.finished_at FROM unnest($1::text[]) AS q(project) LEFT JOIN LATERAL (
        SELECT r.request_id, r.finished_at FROM pgcourier.requests r
        WHERE r.project_id = ANY (ARRAY[q.project]) AND r.state = 'completed' ORDER BY r.project_id DESC, r.finished_at DESC LIMIT 1
    ) n ON true WHERE EXISTS (SELECT FROM pgcourier.requests r WHERE r.project_id = q.project)
)
SELECT project_id, '' AS request_id, NULL::timestamptz AS finished_at FROM never
UNION ALL SELECT project_id, request_id, finished_at FROM succeeded
UNION ALL SELECT project_id, coalesce(request_id, ''), finished_at FROM chosen
ORDER BY finished_at NULLS FIRST, project_id LIMIT $2`

	hours = `
SELECT floor(extract(epoch FROM now() - r.created_at) / 3600)::integer AS ago, ` + browseState + ` AS state, count(*)::integer AS count,
    coalesce(max(r.finished_at - r.started_at), '0') AS longest
FROM pgcourier.requests r
WHERE r.created_at > now() - interval '24 hours' AND r.created_at <= now() AND ($1::text[] IS NULL OR r.project_id = ANY ($1))
GROUP BY 1, 2 ORDER BY 1, 2`
)

// ProjectStates returns projects that have requests: those without a completed export, then those
// with the oldest one. projects nil: all, of those without one only such with a late failure or an open request.
func (l *Ledger) ProjectStates(ctx context.Context, projects []string, limit int) ([]ProjectState, error) {
	rows, err := read[ProjectState](ctx, l, "look for the last success of each project", projectStates, projects, limit)
	for i := range rows {
		rows[i].EndedAt = utc(rows[i].EndedAt)
	}
	return rows, err
}

// Hours returns what became of the requests of the last 24 hours. projects nil: of all projects.
func (l *Ledger) Hours(ctx context.Context, projects []string) ([]Hour, error) {
	return read[Hour](ctx, l, "count the requests of the last 24 hours", hours, projects)
}
