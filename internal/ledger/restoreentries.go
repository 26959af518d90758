package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

const (
	restoreColumns = `
SELECT r.project_id, r.request_id, r.state, r.attempt, r.refused, r.origin, r.digest, r.created_at, r.started_at,
    coalesce(r.code, l.code, '') AS code, coalesce(l.message, '') AS message,
    coalesce(r.from_project, '') AS from_project, coalesce(r.from_request, '') AS from_request, ` + recordColumns + `
FROM pgcourier.restores r
LEFT JOIN LATERAL (
    SELECT a.code, a.message FROM pgcourier.restore_attempts a
    WHERE a.project_id = r.project_id AND a.request_id = r.request_id AND a.attempt = r.attempt
        AND r.state IN ('waiting', 'failed') LIMIT 1
) l ON true`

	getRestore = restoreColumns + ` WHERE r.project_id = $1 AND r.request_id = $2`

	// A restore stores no object.
	getRestoreAttempts = `
SELECT attempt, worker, delivery, '' AS object, result, coalesce(code, '') AS code,
    coalesce(message, '') AS message, started_at, ended_at, NULL::timestamptz AS collected_at
FROM pgcourier.restore_attempts WHERE project_id = $1 AND request_id = $2 ORDER BY attempt`

	listRestores = restoreColumns + ` WHERE $1 = '' OR r.project_id = $1 ORDER BY r.created_at DESC, r.project_id, r.request_id LIMIT $2`

	pageRestores = restoreColumns + `
WHERE ($1::text[] IS NULL OR r.project_id = ANY ($1)) AND (r.created_at, r.project_id, r.request_id) < ($2, $3, $4)
ORDER BY r.created_at DESC, r.project_id DESC, r.request_id DESC LIMIT $5`

	// A restore that ended, or waits, before an attempt has resolved its export is found by its request. There are
	// few of them.
	restoresOfExport = restoreColumns + `
WHERE (r.project_id, r.request_id) IN (
    SELECT o.project_id, o.request_id FROM pgcourier.restores o WHERE o.from_project = $1 AND o.from_request = $2
    UNION ALL
    SELECT o.project_id, o.request_id FROM (
        SELECT n.project_id, n.request_id, convert_from(n.payload, 'UTF8')::json -> 'from' AS named FROM pgcourier.restores n
        WHERE n.from_request IS NULL AND NOT n.refused ORDER BY n.created_at DESC LIMIT 2000
    ) o WHERE o.named ->> 'project_id' = $1 AND o.named ->> 'request_id' = $2
) AND ($3::text[] IS NULL OR r.project_id = ANY ($3))
ORDER BY r.created_at DESC, r.project_id DESC, r.request_id DESC LIMIT $4`
)

// RestoreEntry is one restore for display.
type RestoreEntry struct {
	export.ID
	State       export.State
	Attempt     int
	From        export.ID // zero: not resolved yet
	Code        codes.Code
	Message     string
	Refused     bool
	Digest      [32]byte
	RequestedBy string
	Metadata    map[string]string
	Payload     []byte // nil: refused
	CreatedAt   time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time
	Outcome     *export.Outcome // terminal
}

// Get returns a restore; nil: there is none.
func (r *Restores) Get(ctx context.Context, id export.ID) (*RestoreEntry, error) {
	all, err := r.entries(ctx, "get the restore "+id.String(), getRestore, text(id.Project), text(id.Request))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// Attempts returns the attempts at a restore, the oldest first.
func (r *Restores) Attempts(ctx context.Context, id export.ID) ([]Attempt, error) {
	return r.ledger.attempts(ctx, getRestoreAttempts, id)
}

// List returns up to limit restores into a project, or into all if it is empty, the newest first.
func (r *Restores) List(ctx context.Context, project string, limit int) ([]RestoreEntry, error) {
	return r.entries(ctx, "list restores", listRestores, text(project), limit)
}

// Page returns up to limit restores into projects, the newest first: those after a place; the zero
// value is the beginning. Without projects (nil) they are those into all.
func (r *Restores) Page(ctx context.Context, projects []string, after BrowsePlace, limit int) ([]RestoreEntry, error) {
	at := pgtype.Timestamptz{Time: after.At, Valid: true}
	if after.At.IsZero() {
		at.InfinityModifier = pgtype.Infinity
	}
	return r.entries(ctx, "list restores", pageRestores, projects, at, text(after.Project), text(after.Request), limit)
}

// OfExport returns up to limit restores of an export into projects, or into all (nil), the newest first.
func (r *Restores) OfExport(ctx context.Context, id export.ID, projects []string, limit int) ([]RestoreEntry, error) {
	return r.entries(ctx, "list the restores of "+id.String(), restoresOfExport, text(id.Project), text(id.Request), projects, limit)
}

func (r *Restores) entries(ctx context.Context, what, sql string, args ...any) ([]RestoreEntry, error) {
	type row struct {
		Project     string       `db:"project_id"`
		Request     string       `db:"request_id"`
		State       export.State `db:"state"`
		Attempt     int          `db:"attempt"`
		Refused     bool         `db:"refused"`
		Origin      []byte       `db:"origin"`
		Digest      []byte       `db:"digest"`
		CreatedAt   time.Time    `db:"created_at"`
		StartedAt   *time.Time   `db:"started_at"`
		Code        codes.Code   `db:"code"`
		Message     string       `db:"message"`
		FromProject string       `db:"from_project"`
		FromRequest string       `db:"from_request"`
		record
	}
	rows, err := read[row](ctx, r.ledger, what, sql, args...)
	out := make([]RestoreEntry, len(rows))
	for i, one := range rows {
		e := RestoreEntry{
			ID: export.ID{Project: one.Project, Request: one.Request}, State: one.State, Attempt: one.Attempt, From: export.ID{Project: one.FromProject, Request: one.FromRequest},
			Code: one.Code, Message: one.Message, Refused: one.Refused, Digest: [32]byte(one.Digest), Payload: one.Payload,
			CreatedAt: one.CreatedAt.UTC(), StartedAt: utc(one.StartedAt), FinishedAt: utc(one.FinishedAt),
		}
		var from origin
		if err := json.Unmarshal(one.Origin, &from); err != nil {
			return nil, fmt.Errorf("%s: decode origin of %s: %w", what, e.ID, err)
		}
		e.RequestedBy, e.Metadata = from.RequestedBy, from.Metadata
		if one.Outcome != nil {
			o, err := one.decode()
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", what, e.ID, err)
			}
			e.Outcome, e.Message, e.Attempt = &o, o.Message, o.Attempt
		}
		out[i] = e
	}
	return out, err
}

// CancelQueued is Cancel for a restore that waits in the queue. The ledger need not know it.
func (r *Restores) CancelQueued(ctx context.Context, q export.Request, d delivery.Delivery, by string) (export.Cancellation, error) {
	c, err := r.ledger.CancelQueued(ctx, q, d, by)
	if errors.Is(err, operation.ErrUnsettled) {
		return export.Cancellation{}, nil
	}
	return c, err
}
