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
	// The recursion visits each project once, by the primary key. DISTINCT would read every request.
	projectStates = `
WITH RECURSIVE projects AS (
    (SELECT project_id FROM pgcourier.requests ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.project_id FROM pgcourier.requests r WHERE r.project_id > p.project_id ORDER BY r.project_id LIMIT 1)
    FROM projects p WHERE p.project_id IS NOT NULL
), chosen AS (
    SELECT project_id FROM projects WHERE $1::text[] IS NULL AND project_id IS NOT NULL
    UNION ALL
    SELECT q.project FROM unnest($1::text[]) AS q(project)
    WHERE EXISTS (SELECT FROM pgcourier.requests r WHERE r.project_id = q.project)
)
SELECT c.project_id, coalesce(s.request_id, '') AS request_id, s.finished_at
FROM chosen c LEFT JOIN LATERAL (
    SELECT r.request_id, r.finished_at FROM pgcourier.requests r
    WHERE r.project_id = ANY (ARRAY[c.project_id]) AND r.state = 'completed' ORDER BY r.project_id DESC, r.finished_at DESC LIMIT 1
) s ON true
ORDER BY s.finished_at NULLS FIRST, c.project_id LIMIT $2`

	hours = `
SELECT floor(extract(epoch FROM now() - r.created_at) / 3600)::integer AS ago, ` + browseState + ` AS state, count(*)::integer AS count,
    coalesce(max(r.finished_at - r.started_at), '0') AS longest
FROM pgcourier.requests r
WHERE r.created_at > now() - interval '24 hours' AND r.created_at <= now() AND ($1::text[] IS NULL OR r.project_id = ANY ($1))
GROUP BY 1, 2 ORDER BY 1, 2`
)

// ProjectStates returns projects that have requests: those without a completed export, then those
// with the oldest one. projects nil: all.
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
