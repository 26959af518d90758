package ledger

import (
	"context"
	"time"
)

// NotedCall is a call in the audit.
type NotedCall struct {
	Call
	ID int64
	At time.Time
}

// CallFilter selects calls of the audit.
type CallFilter struct {
	Projects []string // nil: all
	Before   int64    // calls with lower ids; 0: from the newest on
	Limit    int
}

const calls = `
SELECT call_id, called_at, subject, address, action, project_id, object FROM pgcourier.api_calls
WHERE ($1::text[] IS NULL OR project_id = ANY ($1)) AND ($2::bigint = 0 OR call_id < $2)
ORDER BY call_id DESC LIMIT $3`

// Calls returns calls of the audit, the newest first.
func (l *Ledger) Calls(ctx context.Context, f CallFilter) ([]NotedCall, error) {
	rows, err := read[struct {
		ID      int64     `db:"call_id"`
		At      time.Time `db:"called_at"`
		Subject string    `db:"subject"`
		Address string    `db:"address"`
		Action  string    `db:"action"`
		Project string    `db:"project_id"`
		Object  string    `db:"object"`
	}](ctx, l, "list the calls of the API", calls, f.Projects, f.Before, f.Limit)
	out := make([]NotedCall, len(rows))
	for i, r := range rows {
		out[i] = NotedCall{Call{Subject: r.Subject, Address: r.Address, Action: r.Action, Project: r.Project, Object: r.Object}, r.ID, r.At.UTC()}
	}
	return out, err
}
