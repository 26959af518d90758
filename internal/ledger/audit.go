package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Call is a call of the API that changes something.
type Call struct {
	Subject string // the caller, as access.Grant names it
	Address string // of the caller
	Action  string // the operation's name
	Project string
	Object  string // request id, or name of a schedule, a link or a token
}

// CallOutcome says what a call of the API came to.
type CallOutcome string

// The outcomes.
const (
	CallDone   CallOutcome = "done"
	CallFailed CallOutcome = "failed" // nothing was changed
	// CallUnknown means that the call is carried out now, or that the process or its connection ended before the answer.
	CallUnknown CallOutcome = "unknown"
)

// NotedCall is a call in the audit.
type NotedCall struct {
	Call
	ID      int64
	At      time.Time
	Outcome CallOutcome // "": an older release noted the call before it was carried out
}

// CallFilter selects calls of the audit.
type CallFilter struct {
	Projects []string // nil: all
	Before   int64    // calls with lower ids; 0: from the newest on
	Limit    int
}

const (
	addCall = `
INSERT INTO pgcourier.api_calls (outcome, subject, address, action, project_id, object)`

	beginCall = addCall + ` VALUES ('unknown', $1, $2, $3, $4, $5) RETURNING call_id`

	// The outcome follows. The API's login may insert and delete calls, but not change one: so their outcome
	// replaces them as they are.
	replaceCalls = `
INSERT INTO pgcourier.api_calls (call_id, called_at, subject, address, action, project_id, object, outcome) OVERRIDING SYSTEM VALUE
SELECT call_id, called_at, subject, address, action, project_id, object, `

	endCall = `
WITH ended AS (DELETE FROM pgcourier.api_calls WHERE call_id = $1 RETURNING *)` + replaceCalls + `$2::text FROM ended`

	calls = `
SELECT call_id, called_at, coalesce(outcome, '') AS outcome, subject, address, action, project_id, object FROM pgcourier.api_calls
WHERE ($1::text[] IS NULL OR project_id = ANY ($1)) AND ($2::bigint = 0 OR call_id < $2)
ORDER BY call_id DESC LIMIT $3`
)

// BeginCall notes a call of the API that is about to be carried out, as CallUnknown, and returns its id for EndCall.
func (l *Ledger) BeginCall(ctx context.Context, c Call) (id int64, err error) {
	err = l.call(ctx, "note a call of the API", func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, beginCall, text(c.Subject), text(c.Address), c.Action, text(c.Project), text(c.Object))
		if err != nil {
			return err
		}
		id, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		return err
	})
	return id, err
}

// EndCall notes the outcome of a call that BeginCall has noted.
func (l *Ledger) EndCall(ctx context.Context, id int64, outcome CallOutcome) error {
	return l.note(ctx, "note the outcome of a call of the API", nil, endCall, id, string(outcome))
}

// Calls returns calls of the audit, the newest first.
func (l *Ledger) Calls(ctx context.Context, f CallFilter) ([]NotedCall, error) {
	rows, err := read[struct {
		ID      int64     `db:"call_id"`
		At      time.Time `db:"called_at"`
		Outcome string    `db:"outcome"`
		Subject string    `db:"subject"`
		Address string    `db:"address"`
		Action  string    `db:"action"`
		Project string    `db:"project_id"`
		Object  string    `db:"object"`
	}](ctx, l, "list the calls of the API", calls, f.Projects, f.Before, f.Limit)
	out := make([]NotedCall, len(rows))
	for i, r := range rows {
		out[i] = NotedCall{Call{Subject: r.Subject, Address: r.Address, Action: r.Action, Project: r.Project, Object: r.Object}, r.ID, r.At.UTC(), CallOutcome(r.Outcome)}
	}
	return out, err
}
