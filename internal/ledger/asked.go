package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Asked is a request of the API to the broker for an export.
type Asked struct {
	export.ID
	Payload     []byte // canonical JSON
	Digest      [32]byte
	RequestedBy string
	At          time.Time // of Waiting: when it was asked for
}

const (
	// $1 to $5 the request, $6 to $8 the call. The call is noted when the request is new.
	ask = `
WITH known AS (
    SELECT digest FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2
), added AS (
    INSERT INTO pgcourier.api_requests (project_id, request_id, digest, payload, requested_by)
    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (project_id, request_id) DO NOTHING RETURNING digest
), noted AS (` + addCall + ` SELECT 'done', $6, $7, $8, $1, $2 FROM added)
SELECT EXISTS (SELECT FROM known) AS recorded, EXISTS (SELECT FROM added) AS added, coalesce(
    (SELECT digest FROM known), (SELECT digest FROM added),
    (SELECT digest FROM pgcourier.api_requests WHERE project_id = $1 AND request_id = $2)) = $3 AS same`

	// The calls that have asked for the requests in asked: a request is recorded together with its call.
	callsOfAsked = `
    DELETE FROM pgcourier.api_calls c USING asked a WHERE c.project_id = a.project_id AND c.object = a.request_id
        AND c.action = 'create-export' AND c.called_at >= a.asked_at - interval '1 second'`

	takeBack = `
WITH asked AS (
    DELETE FROM pgcourier.api_requests WHERE project_id = $1 AND request_id = $2 AND digest = $3 AND NOT recorded
    RETURNING project_id, request_id, asked_at
), ended AS (` + callsOfAsked + ` AND c.outcome IN ('done', 'unknown') RETURNING c.*)` + replaceCalls + `'failed' FROM ended`

	askUnanswered = `
WITH asked AS (
    SELECT project_id, request_id, asked_at FROM pgcourier.api_requests WHERE project_id = $1 AND request_id = $2 AND NOT recorded
), ended AS (` + callsOfAsked + ` AND c.outcome = 'done' RETURNING c.*)` + replaceCalls + `'unknown' FROM ended`

	waitingColumns = `SELECT a.project_id, a.request_id, a.digest, a.payload, a.requested_by, a.asked_at FROM pgcourier.api_requests a`

	unrecorded = `NOT a.recorded AND NOT EXISTS (
    SELECT FROM pgcourier.requests r WHERE r.project_id = a.project_id AND r.request_id = a.request_id)`

	findAsked = waitingColumns + ` WHERE a.project_id = $1 AND a.request_id = $2 AND ` + unrecorded

	pageAsked = waitingColumns + `
WHERE a.project_id = $1 AND (a.asked_at, a.request_id) < ($2, $3) AND a.asked_at >= $4 AND ` + unrecorded + `
ORDER BY a.asked_at DESC, a.request_id DESC LIMIT $5`

	noteRecorded = `
WITH seen AS (
    SELECT a.project_id, a.request_id FROM pgcourier.api_requests a
    JOIN pgcourier.requests r USING (project_id, request_id) WHERE NOT a.recorded LIMIT $1 FOR UPDATE OF a SKIP LOCKED
), asked AS (
    UPDATE pgcourier.api_requests a SET recorded = true FROM seen s WHERE a.project_id = s.project_id AND a.request_id = s.request_id
    RETURNING a.project_id, a.request_id, a.asked_at
), ended AS (` + callsOfAsked + ` AND c.outcome = 'unknown' RETURNING c.*)` + replaceCalls + `'done' FROM ended`

	overdue = waitingColumns + `
WHERE a.asked_at < clock_timestamp() - $1::interval AND ` + unrecorded + ` ORDER BY a.asked_at LIMIT $2`

	// The row of a request can be deleted only if the request is over and forgotten, or was recorded
	// long ago: its key would be free again.
	forgetAsked = `
WITH over AS (
    SELECT a.project_id, a.request_id FROM pgcourier.api_requests a
    WHERE a.recorded AND a.asked_at < clock_timestamp() - $1::interval AND NOT EXISTS (
        SELECT FROM pgcourier.requests r WHERE r.project_id = a.project_id AND r.request_id = a.request_id)
    ORDER BY a.asked_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED
)
DELETE FROM pgcourier.api_requests a USING over o WHERE a.project_id = o.project_id AND a.request_id = o.request_id`

	forgetCalls = `
DELETE FROM pgcourier.api_calls WHERE call_id IN (
    SELECT call_id FROM pgcourier.api_calls WHERE called_at < clock_timestamp() - $1::interval ORDER BY called_at LIMIT $2)`
)

// AskVerdict is the result of an Ask.
type AskVerdict int

// The verdicts.
const (
	AskNew         AskVerdict = iota + 1 // to be published
	AskSame                              // asked before, perhaps not published: publish it again
	AskRecorded                          // a worker has recorded the same: nothing to publish
	AskConflicting                       // the id belongs to a request with other contents
)

// errRaced says that another session asks for the same id at the same time, invisible to this one.
var errRaced = errors.New("another session asks for the same request now")

// Ask records that the API is about to publish a request, together with the call. It must be called
// before the request is published, and may be repeated. The call's outcome is done, unless AskUnanswered or
// TakeBack changes it.
func (l *Ledger) Ask(ctx context.Context, r Asked, c Call) (verdict AskVerdict, err error) {
	what := "record what is asked for, " + r.ID.String()
	for range 3 {
		if verdict, err = l.ask(ctx, what, r, c); !errors.Is(err, errRaced) {
			return verdict, err
		}
	}
	return 0, err
}

func (l *Ledger) ask(ctx context.Context, what string, r Asked, c Call) (verdict AskVerdict, err error) {
	err = l.call(ctx, what, func(ctx context.Context) error {
		var recorded, added bool
		var same *bool
		row := l.pool.QueryRow(ctx, ask, r.Project, r.Request, r.Digest[:], r.Payload, text(r.RequestedBy), text(c.Subject), text(c.Address), c.Action)
		if err := row.Scan(&recorded, &added, &same); err != nil {
			return err
		}
		switch {
		case same == nil:
			return errRaced
		case !*same:
			verdict = AskConflicting
		case recorded:
			verdict = AskRecorded
		case added:
			verdict = AskNew
		default:
			verdict = AskSame
		}
		return nil
	})
	return verdict, err
}

// AskUnanswered notes that the publication of a request had no answer: the outcome of its call is unknown until a
// worker records the request, or TakeBack takes it back.
func (l *Ledger) AskUnanswered(ctx context.Context, id export.ID) error {
	return l.note(ctx, "note that "+id.String()+" had no answer", nil, askUnanswered, id.Project, id.Request)
}

// TakeBack deletes the record of a request that was certainly not published: the id is free again, and its call has
// failed.
func (l *Ledger) TakeBack(ctx context.Context, r Asked) error {
	return l.note(ctx, "take back "+r.ID.String(), nil, takeBack, r.Project, r.Request, r.Digest[:])
}

type askedRow struct {
	Project     string    `db:"project_id"`
	Request     string    `db:"request_id"`
	Digest      []byte    `db:"digest"`
	Payload     []byte    `db:"payload"`
	RequestedBy string    `db:"requested_by"`
	At          time.Time `db:"asked_at"`
}

func (l *Ledger) asked(ctx context.Context, what, sql string, args ...any) ([]Asked, error) {
	rows, err := read[askedRow](ctx, l, what, sql, args...)
	out := make([]Asked, len(rows))
	for i, r := range rows {
		out[i] = Asked{ID: export.ID{Project: r.Project, Request: r.Request}, Payload: r.Payload, Digest: [32]byte(r.Digest), RequestedBy: r.RequestedBy, At: r.At.UTC()}
	}
	return out, err
}

// AskedFor returns a request of the API that no worker has recorded yet; nil: none.
func (l *Ledger) AskedFor(ctx context.Context, id export.ID) (*Asked, error) {
	all, err := l.asked(ctx, "look for "+id.String(), findAsked, id.Project, id.Request)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// Unrecorded returns up to limit requests of the API that are at least age old and that no worker
// has recorded: they wait in the queue, or never reached it.
func (l *Ledger) Unrecorded(ctx context.Context, age time.Duration, limit int) ([]Asked, error) {
	return l.asked(ctx, "list what no worker has recorded", overdue, age, limit)
}

// TidyAPI marks the requests that workers have recorded. It deletes up to limit calls, and up to
// limit forgotten requests, that are older than keep; keep 0 keeps all. Any number of processes may
// call it at once.
func (l *Ledger) TidyAPI(ctx context.Context, keep time.Duration, limit int) error {
	return l.call(ctx, "tidy the API's tables", func(ctx context.Context) error {
		b := &pgx.Batch{}
		b.Queue(noteRecorded, limit)
		if keep > 0 {
			b.Queue(forgetAsked, keep, limit)
			b.Queue(forgetCalls, keep, limit)
		}
		if err := l.pool.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("tidy: %w", err)
		}
		return nil
	})
}
