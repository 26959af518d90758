package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	newestSuccess    = `SELECT '' AS project_id, max(finished_at) FROM pgcourier.requests WHERE state = 'completed' HAVING count(*) > 0`
	newestOfProjects = `SELECT project_id, max(finished_at) FROM pgcourier.requests WHERE state = 'completed' GROUP BY project_id`
)

// Successes returns the end of the newest completed export of each project or, unless perProject,
// of all projects under the empty name. Projects without one are missing. A deleted export counts.
// It reads an index of all completed requests.
func (l *Ledger) Successes(ctx context.Context, perProject bool) (map[string]time.Time, error) {
	query := newestSuccess
	if perProject {
		query = newestOfProjects
	}
	ended := map[string]time.Time{}
	err := l.call(ctx, "look for the newest completed exports", func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, query)
		if err != nil {
			return err
		}
		var project string
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&project, &at}, func() error {
			ended[project] = at
			return nil
		})
		return err
	})
	return ended, err
}
