package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

var _ retention.Records = (*Ledger)(nil)

const (
	// A lease that ends later than now() plus its length was written before the clock was set back.
	takePruning = `
WITH before AS (SELECT begun_at FROM pgcourier.pruning FOR UPDATE)
UPDATE pgcourier.pruning p SET holder = $1, lease_until = clock_timestamp() + $2::interval, begun_at = clock_timestamp()
FROM before
WHERE p.lease_until IS NULL OR p.lease_until <= clock_timestamp() OR p.lease_until > clock_timestamp() + $2::interval
RETURNING p.begun_at AS now, coalesce(before.begun_at > p.begun_at OR before.begun_at < p.begun_at - $3::interval, false) AS jumped`

	forgetWarnings = `UPDATE pgcourier.expiries SET warned_at = NULL WHERE warned_at IS NOT NULL AND deleting_at IS NULL`

	keepPruning = `
UPDATE pgcourier.pruning SET lease_until = clock_timestamp() + $2::interval
WHERE holder = $1 AND lease_until > clock_timestamp()`

	endPruning = `
UPDATE pgcourier.pruning SET holder = NULL, lease_until = NULL, completed_at = CASE WHEN $2 THEN clock_timestamp() ELSE completed_at END
WHERE holder = $1`

	// stored: completed and not deleted.
	stored = `r.state = 'completed' AND r.removed_at IS NULL`

	storedProjects = `SELECT DISTINCT project_id FROM pgcourier.requests r WHERE ` + stored + ` ORDER BY project_id`

	storedColumns = `
SELECT r.project_id, r.request_id, r.finished_at, r.outcome, coalesce(a.object, '') AS object,
    v.damaged IS NOT DISTINCT FROM false AS verified, v.damaged IS NOT DISTINCT FROM true AS damaged,
    coalesce(e.reason, '') AS reason, e.warned_at, e.deleting_at, coalesce(e.tries, 0) AS tries, coalesce(e.fault, '') AS fault,
    e.results, e.deleted_at
FROM pgcourier.requests r
LEFT JOIN pgcourier.attempts a ON a.project_id = r.project_id AND a.request_id = r.request_id AND a.result = 'completed'
LEFT JOIN pgcourier.verifications v ON v.project_id = r.project_id AND v.request_id = r.request_id
LEFT JOIN pgcourier.expiries e ON e.project_id = r.project_id AND e.request_id = r.request_id`

	storedOf = storedColumns + ` WHERE ` + stored + ` AND r.project_id = $1`

	unannounced = storedColumns + `
WHERE e.deleted_at IS NOT NULL AND e.announced_at IS NULL ORDER BY e.deleted_at LIMIT $1`

	warned = `
INSERT INTO pgcourier.expiries AS e (project_id, request_id, reason, warned_at) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (project_id, request_id) DO UPDATE SET reason = excluded.reason, warned_at = excluded.warned_at
WHERE e.deleting_at IS NULL`

	spare = `DELETE FROM pgcourier.expiries WHERE project_id = $1 AND request_id = $2 AND deleting_at IS NULL`

	// The last condition is independent of the rules: the project has another export that is
	// neither damaged nor about to be deleted.
	beginDeletion = `
UPDATE pgcourier.expiries e SET deleting_at = clock_timestamp()
WHERE e.project_id = $1 AND e.request_id = $2 AND e.deleting_at IS NULL AND e.warned_at <= clock_timestamp() - $3::interval
    AND EXISTS (
        SELECT FROM pgcourier.requests r
        LEFT JOIN pgcourier.verifications v USING (project_id, request_id)
        LEFT JOIN pgcourier.expiries x USING (project_id, request_id)
        WHERE r.project_id = $1 AND r.request_id <> $2 AND ` + stored + `
            AND v.damaged IS DISTINCT FROM true AND x.deleting_at IS NULL)`

	deletionFailed = `
UPDATE pgcourier.expiries SET tries = tries + 1, fault = $3 WHERE project_id = $1 AND request_id = $2 AND deleted_at IS NULL`

	deleted = `
WITH gone AS (
    UPDATE pgcourier.expiries SET deleted_at = clock_timestamp(), results = $3
    WHERE project_id = $1 AND request_id = $2 AND deleted_at IS NULL RETURNING deleted_at
)
UPDATE pgcourier.requests SET removed_at = coalesce(removed_at, gone.deleted_at) FROM gone
WHERE project_id = $1 AND request_id = $2`

	announced = `
UPDATE pgcourier.expiries SET announced_at = clock_timestamp()
WHERE project_id = $1 AND request_id = $2 AND deleted_at IS NOT NULL AND announced_at IS NULL`

	noteVerification = `
INSERT INTO pgcourier.verifications (project_id, request_id, damaged)
SELECT project_id, request_id, $3 FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2
ON CONFLICT (project_id, request_id) DO UPDATE SET damaged = excluded.damaged, verified_at = clock_timestamp()`

	lastVerified = `SELECT max(verified_at) FROM pgcourier.verifications WHERE NOT damaged`
)

// BeginPrune implements retention.Records.
func (l *Ledger) BeginPrune(ctx context.Context, holder string, lease, gap time.Duration) (now time.Time, jumped bool, err error) {
	err = l.call(ctx, "begin to prune", func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
			if err := tx.QueryRow(ctx, takePruning, holder, lease, gap).Scan(&now, &jumped); err != nil || !jumped {
				return err
			}
			_, err := tx.Exec(ctx, forgetWarnings)
			return err
		})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = retention.ErrBusy
	}
	return now.UTC(), jumped, err
}

// KeepPruning implements retention.Records.
func (l *Ledger) KeepPruning(ctx context.Context, holder string, lease time.Duration) error {
	return l.note(ctx, "go on pruning", retention.ErrBusy, keepPruning, holder, lease)
}

// EndPrune implements retention.Records.
func (l *Ledger) EndPrune(ctx context.Context, holder string, whole bool) error {
	return l.note(ctx, "end pruning", nil, endPruning, holder, whole)
}

// Now returns the time by the ledger's clock.
func (l *Ledger) Now(ctx context.Context) (now time.Time, err error) {
	err = l.call(ctx, "read the clock", func(ctx context.Context) error {
		return l.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	})
	return now.UTC(), err
}

// note executes a statement. It returns none when the statement changed nothing.
func (l *Ledger) note(ctx context.Context, what string, none error, sql string, args ...any) error {
	return l.call(ctx, what, func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, sql, args...)
		if err == nil && tag.RowsAffected() == 0 {
			return none
		}
		return err
	})
}

// StoredProjects implements retention.Records.
func (l *Ledger) StoredProjects(ctx context.Context) ([]string, error) {
	type row struct {
		Project string `db:"project_id"`
	}
	rows, err := read[row](ctx, l, "list projects with exports", storedProjects)
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r.Project
	}
	return out, err
}

// storedRow is a stored export with the state of its deletion.
type storedRow struct {
	Project    string     `db:"project_id"`
	Request    string     `db:"request_id"`
	FinishedAt time.Time  `db:"finished_at"`
	Outcome    []byte     `db:"outcome"`
	Object     string     `db:"object"`
	Verified   bool       `db:"verified"`
	Damaged    bool       `db:"damaged"`
	Reason     string     `db:"reason"`
	WarnedAt   *time.Time `db:"warned_at"`
	DeletingAt *time.Time `db:"deleting_at"`
	Tries      int        `db:"tries"`
	Fault      string     `db:"fault"`
	Results    []byte     `db:"results"`
	DeletedAt  *time.Time `db:"deleted_at"`
}

func (r storedRow) record() (retention.Record, error) {
	o, err := record{Outcome: r.Outcome, FinishedAt: &r.FinishedAt}.decode()
	if err != nil {
		return retention.Record{}, fmt.Errorf("%s/%s: %w", r.Project, r.Request, err)
	}
	out := retention.Record{
		Export: retention.Export{
			ID: export.ID{Project: r.Project, Request: r.Request}, FinishedAt: r.FinishedAt.UTC(), Verified: r.Verified, Damaged: r.Damaged,
		},
		Object: r.Object, Trace: o.Trace,
	}
	if o.Artifact != nil {
		out.StoredBytes, out.Copies = o.Artifact.StoredBytes, o.Artifact.Copies
	}
	if r.Reason != "" {
		out.Expiry = &retention.Expiry{Reason: r.Reason, WarnedAt: orZero(r.WarnedAt), DeletingAt: orZero(r.DeletingAt), Tries: r.Tries, Fault: r.Fault}
	}
	return out, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// Stored implements retention.Records.
func (l *Ledger) Stored(ctx context.Context, project string) ([]retention.Record, error) {
	rows, err := read[storedRow](ctx, l, "list stored exports of "+project, storedOf, project)
	if err != nil {
		return nil, err
	}
	out := make([]retention.Record, len(rows))
	for i, r := range rows {
		if out[i], err = r.record(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Warned implements retention.Records.
func (l *Ledger) Warned(ctx context.Context, id export.ID, reason string) error {
	return l.note(ctx, "note the warning of "+id.String(), nil, warned, id.Project, id.Request, text(reason))
}

// Spare implements retention.Records.
func (l *Ledger) Spare(ctx context.Context, id export.ID) error {
	return l.note(ctx, "spare "+id.String(), nil, spare, id.Project, id.Request)
}

// BeginDeletion implements retention.Records.
func (l *Ledger) BeginDeletion(ctx context.Context, id export.ID, notice time.Duration) (bool, error) {
	unchanged := errors.New("unchanged")
	err := l.note(ctx, "begin to delete "+id.String(), unchanged, beginDeletion, id.Project, id.Request, notice)
	if errors.Is(err, unchanged) {
		return false, nil
	}
	return err == nil, err
}

// DeletionFailed implements retention.Records.
func (l *Ledger) DeletionFailed(ctx context.Context, id export.ID, fault string) error {
	return l.note(ctx, "note the failed deletion of "+id.String(), nil, deletionFailed, id.Project, id.Request, text(fault))
}

// Deleted implements retention.Records.
func (l *Ledger) Deleted(ctx context.Context, id export.ID, results []retention.Result) error {
	b, err := json.Marshal(results)
	if err != nil {
		return fmt.Errorf("encode what became of %s: %w", id, err)
	}
	return l.note(ctx, "note the deletion of "+id.String(), nil, deleted, id.Project, id.Request, b)
}

// Unannounced implements retention.Records.
func (l *Ledger) Unannounced(ctx context.Context, limit int) ([]retention.Gone, error) {
	rows, err := read[storedRow](ctx, l, "list deletions to announce", unannounced, limit)
	if err != nil {
		return nil, err
	}
	out := make([]retention.Gone, len(rows))
	for i, r := range rows {
		if out[i].Record, err = r.record(); err != nil {
			return nil, err
		}
		out[i].DeletedAt = orZero(r.DeletedAt)
		if err := json.Unmarshal(r.Results, &out[i].Results); err != nil {
			return nil, fmt.Errorf("decode what became of %s: %w", out[i].ID, err)
		}
	}
	return out, nil
}

// Announced implements retention.Records.
func (l *Ledger) Announced(ctx context.Context, id export.ID) error {
	return l.note(ctx, "note the announcement of "+id.String(), nil, announced, id.Project, id.Request)
}

// NoteVerification records a verifier's finding about a completed export: sound or damaged. The
// last finding counts. A request that the ledger does not know is ignored.
func (l *Ledger) NoteVerification(ctx context.Context, id export.ID, damaged bool) error {
	return l.note(ctx, "note the verification of "+id.String(), nil, noteVerification, id.Project, id.Request, damaged)
}

// LastPruned returns the end of the last complete run of the pruner; zero: never.
func (l *Ledger) LastPruned(ctx context.Context) (time.Time, error) {
	var at *time.Time
	if err := l.pool.QueryRow(ctx, "SELECT completed_at FROM pgcourier.pruning").Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("look for the last run of the pruner: %w", err)
	}
	if at == nil {
		return time.Time{}, nil
	}
	return *at, nil
}

// LastVerified returns when an export was last found sound; zero: never.
func (l *Ledger) LastVerified(ctx context.Context) (time.Time, error) {
	var at *time.Time
	if err := l.pool.QueryRow(ctx, lastVerified).Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("look for the last verification: %w", err)
	}
	if at == nil {
		return time.Time{}, nil
	}
	return *at, nil
}
