package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// collect_after is set only when an attempt ends as a loser, in the same statement
	// that fences it off, and a CHECK constraint ensures it. The conditions on the request
	// repeat it, because a deletion cannot be undone.
	findCollectable = `
SELECT a.project_id, a.request_id, a.attempt, a.object, a.looks
FROM pgcourier.attempts a JOIN pgcourier.requests r USING (project_id, request_id)
WHERE a.collect_after <= clock_timestamp() AND a.result IN ('retry', 'superseded', 'failed')
    AND NOT (r.state = 'running' AND r.attempt = a.attempt)
ORDER BY a.collect_after LIMIT $1`

	// $5 holds the pauses after each look. A look that another collector has already
	// recorded is not counted twice.
	noteCollected = `
UPDATE pgcourier.attempts a SET looks = a.looks + 1, collected_at = clock_timestamp(),
    collect_after = clock_timestamp() + ($5::interval[])[a.looks + 1]
FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[]) AS l (project_id, request_id, attempt, looks)
WHERE a.project_id = l.project_id AND a.request_id = l.request_id AND a.attempt = l.attempt AND a.looks = l.looks`
)

// Collectable implements export.Collector.
func (l *Ledger) Collectable(ctx context.Context, limit int) ([]export.Leftover, error) {
	type row struct {
		Project string `db:"project_id"`
		Request string `db:"request_id"`
		Attempt int    `db:"attempt"`
		Object  string `db:"object"`
		Looks   int    `db:"looks"`
	}
	rows, err := read[row](ctx, l, "read collectable objects", findCollectable, limit)
	if err != nil {
		return nil, err
	}
	out := make([]export.Leftover, len(rows))
	for i, r := range rows {
		out[i] = export.Leftover{
			Token:  export.Token{ID: export.ID{Project: r.Project, Request: r.Request}, Attempt: r.Attempt},
			Object: r.Object, Look: r.Looks,
		}
	}
	return out, nil
}

// lookAgain returns the pauses between the collector's looks for one attempt's object: four looks in
// all. A superseded worker that was paused may finish an upload after the first look. It deletes the
// object itself if it continues to run. The later looks are for a worker that writes late and then
// dies.
func lookAgain() []time.Duration {
	return []time.Duration{time.Minute, 10 * time.Minute, 24 * time.Hour}
}

// Collected implements export.Collector.
func (l *Ledger) Collected(ctx context.Context, objects []export.Leftover) error {
	if len(objects) == 0 {
		return nil
	}
	var projects, requests []string
	var attempts, looks []int
	for _, o := range objects {
		projects, requests = append(projects, o.Project), append(requests, o.Request)
		attempts, looks = append(attempts, o.Attempt), append(looks, o.Look)
	}
	return l.call(ctx, "note collected objects", func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, noteCollected, projects, requests, attempts, looks, lookAgain())
		return err
	})
}
