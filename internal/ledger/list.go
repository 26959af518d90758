package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Filter restricts a List. The zero value selects all requests.
type Filter struct {
	Project string         // exactly this project; empty: all
	States  []export.State // any of these; empty: all
	Code    codes.Code     // failed with this code; empty: any
	Since   time.Duration  // first seen within this time, by the ledger's clock; 0: ever
	Limit   int            // at most so many entries. Default 100.
}

// Entry is one request for display to an operator. Its JSON is part of the command line's stable
// output.
type Entry struct {
	export.ID
	State       export.State      `json:"state"`
	Attempt     int               `json:"attempt"`            // attempts made
	Worker      string            `json:"worker,omitempty"`   // of the latest attempt
	Code        codes.Code        `json:"code,omitempty"`     // failed: why; waiting: why the latest attempt failed
	Message     string            `json:"message,omitempty"`  // the same for a human
	Delivery    int               `json:"delivery,omitempty"` // highest delivery number seen
	Refused     bool              `json:"refused,omitempty"`  // the request broke the contract
	RequestedBy string            `json:"requested_by,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Payload     json.RawMessage   `json:"request,omitempty"` // as it is to be replayed; absent when refused

	CreatedAt   time.Time  `json:"created_at"`            // first seen
	StartedAt   *time.Time `json:"started_at,omitempty"`  // first attempt
	LeaseUntil  *time.Time `json:"lease_until,omitempty"` // running
	FinishedAt  *time.Time `json:"finished_at,omitempty"` // terminal
	PublishedAt *time.Time `json:"published_at,omitempty"`
	RemovedAt   *time.Time `json:"removed_at,omitempty"` // completed: when its export was deleted

	Outcome  *export.Outcome `json:"outcome,omitempty"`  // terminal
	Attempts []Attempt       `json:"attempts,omitempty"` // Get only; oldest first
}

// Took returns how long the attempt took that ended the request. ok is false when there is none.
func (e Entry) Took() (took time.Duration, ok bool) {
	if e.Outcome == nil || e.Outcome.StartedAt.IsZero() {
		return 0, false
	}
	return e.Outcome.FinishedAt.Sub(e.Outcome.StartedAt), true
}

// Attempt is one attempt of an Entry.
type Attempt struct {
	Attempt     int        `json:"attempt"               db:"attempt"`
	Worker      string     `json:"worker"                db:"worker"`
	Delivery    int        `json:"delivery"              db:"delivery"`
	Object      string     `json:"object,omitempty"      db:"object"` // its key in the storage
	Result      string     `json:"result"                db:"result"` // running, completed, retry, superseded or failed
	Code        codes.Code `json:"code,omitempty"        db:"code"`
	Message     string     `json:"message,omitempty"     db:"message"`
	StartedAt   time.Time  `json:"started_at"            db:"started_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"    db:"ended_at"`
	CollectedAt *time.Time `json:"collected_at,omitempty" db:"collected_at"` // when the collector looked last
}

const (
	listColumns = listFields + `
FROM pgcourier.requests r` + lastAttempt

	listFields = `
SELECT r.project_id, r.request_id, r.state, coalesce(r.worker, '') AS worker, r.delivery, r.refused, r.origin,
    (SELECT count(*) FROM pgcourier.attempts a WHERE a.project_id = r.project_id AND a.request_id = r.request_id)::integer AS attempts,
    coalesce(r.code, l.code, '') AS code, coalesce(l.message, '') AS message,
    r.created_at, r.started_at, r.lease_until, r.published_at, r.removed_at, ` + recordColumns

	// LATERAL with LIMIT keeps a generic plan, which expects a tenth of the table, from reading all attempts.
	lastAttempt = `
LEFT JOIN LATERAL (
    SELECT a.code, a.message FROM pgcourier.attempts a
    WHERE a.project_id = r.project_id AND a.request_id = r.request_id AND a.attempt = r.attempt
        AND r.state IN ('waiting', 'failed') LIMIT 1
) l ON true`

	list = listColumns + `
WHERE ($1 = '' OR r.project_id = $1)
    AND (cardinality($2::text[]) = 0 OR r.state = ANY ($2))
    AND ($3 = '' OR r.state = 'failed' AND r.code = $3)
    AND ($4::interval = '0' OR r.created_at >= clock_timestamp() - $4::interval)
ORDER BY r.created_at DESC, r.project_id, r.request_id LIMIT $5`

	get = listColumns + `
WHERE r.request_id = $1 AND ($2 = '' OR r.project_id = $2) ORDER BY r.project_id`

	getAttempts = `
SELECT attempt, worker, delivery, coalesce(object, '') AS object, result, coalesce(code, '') AS code,
    coalesce(message, '') AS message, started_at, ended_at, collected_at
FROM pgcourier.attempts WHERE project_id = $1 AND request_id = $2 ORDER BY attempt`
)

type listed struct {
	Project     string       `db:"project_id"`
	Request     string       `db:"request_id"`
	State       export.State `db:"state"`
	Worker      string       `db:"worker"`
	Delivery    int          `db:"delivery"`
	Refused     bool         `db:"refused"`
	Origin      []byte       `db:"origin"`
	Attempts    int          `db:"attempts"`
	Code        codes.Code   `db:"code"`
	Message     string       `db:"message"`
	CreatedAt   time.Time    `db:"created_at"`
	StartedAt   *time.Time   `db:"started_at"`
	LeaseUntil  *time.Time   `db:"lease_until"`
	PublishedAt *time.Time   `db:"published_at"`
	RemovedAt   *time.Time   `db:"removed_at"`
	record
}

// List returns requests, newest first.
func (l *Ledger) List(ctx context.Context, f Filter) ([]Entry, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	states := make([]string, len(f.States))
	for i, s := range f.States {
		states[i] = string(s)
	}
	return l.entries(ctx, "list requests", list, f.Project, states, string(f.Code), f.Since, f.Limit)
}

// Get returns the requests with an id and their attempts: at most one with a project, else one for
// each project that uses the id. No match is not an error.
func (l *Ledger) Get(ctx context.Context, request, project string) ([]Entry, error) {
	out, err := l.entries(ctx, "get "+request, get, request, project)
	if err != nil {
		return nil, err
	}
	for i, e := range out {
		if out[i].Attempts, err = l.attempts(ctx, getAttempts, e.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (l *Ledger) attempts(ctx context.Context, sql string, id export.ID) ([]Attempt, error) {
	all, err := read[Attempt](ctx, l, "get attempts of "+id.String(), sql, id.Project, id.Request)
	for i := range all {
		a := &all[i]
		a.StartedAt, a.EndedAt, a.CollectedAt = a.StartedAt.UTC(), utc(a.EndedAt), utc(a.CollectedAt)
	}
	return all, err
}

func (l *Ledger) entries(ctx context.Context, what, sql string, args ...any) ([]Entry, error) {
	rows, err := read[listed](ctx, l, what, sql, args...)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(rows))
	for i, r := range rows {
		if out[i], err = r.entry(); err != nil {
			return nil, fmt.Errorf("%s: %s/%s: %w", what, r.Project, r.Request, err)
		}
	}
	return out, nil
}

func (r listed) entry() (Entry, error) {
	e := Entry{
		ID: export.ID{Project: r.Project, Request: r.Request}, State: r.State,
		Attempt: r.Attempts, Worker: r.Worker, Code: r.Code, Message: r.Message, Delivery: r.Delivery, Refused: r.Refused,
		Payload: r.Payload, CreatedAt: r.CreatedAt.UTC(), StartedAt: utc(r.StartedAt), LeaseUntil: utc(r.LeaseUntil),
		FinishedAt: utc(r.FinishedAt), PublishedAt: utc(r.PublishedAt), RemovedAt: utc(r.RemovedAt),
	}
	var from origin
	if err := json.Unmarshal(r.Origin, &from); err != nil {
		return Entry{}, fmt.Errorf("decode origin: %w", err)
	}
	e.RequestedBy, e.Metadata = from.RequestedBy, from.Metadata
	if r.Outcome == nil {
		return e, nil
	}
	o, err := r.decode()
	if err != nil {
		return Entry{}, err
	}
	e.Message = o.Message
	o.Payload = nil // it is in the entry already
	e.Outcome = &o
	return e, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
