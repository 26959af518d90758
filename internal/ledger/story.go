package ledger

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Story is what happened to a request beside its attempts.
type Story struct {
	CancelledAt *time.Time `db:"cancel_at"`
	CancelledBy string     `db:"cancel_by"`

	VerifiedAt *time.Time `db:"verified_at"` // of the last verification; nil: none
	Damaged    bool       `db:"damaged"`     // what it found

	// The last order to verify it once more.
	VerifyOrderedAt *time.Time `db:"verify_ordered_at"`
	VerifyOrderedBy string     `db:"verify_ordered_by"`
	VerifyClosedAt  *time.Time `db:"verify_closed_at"` // nil: the order is open
	VerifyFault     string     `db:"verify_fault"`     // why it could not be carried out

	RemovalOrderedAt *time.Time `db:"ordered_at"`
	RemovalOrderedBy string     `db:"ordered_by"`
	RemovalFault     string     `db:"removal_fault"`

	ExpiryReason string     `db:"reason"`
	WarnedAt     *time.Time `db:"warned_at"`
	DeletingAt   *time.Time `db:"deleting_at"`
	ExpiryFault  string     `db:"expiry_fault"`

	Downloads []StoredDownload `db:"-"` // the newest first, at most 50
}

// StoredDownload is one download of an export.
type StoredDownload struct {
	Link       string    `db:"link_id"` // empty: by the API
	By         string    `db:"downloaded_by"`
	Address    string    `db:"address"`
	UserAgent  string    `db:"user_agent"`
	Redirected bool      `db:"redirected"` // the storage itself served it
	Bytes      int64     `db:"bytes"`
	Whole      bool      `db:"whole"`
	StartedAt  time.Time `db:"started_at"`
}

const (
	story = `
SELECT r.cancel_at, coalesce(r.cancel_by, '') AS cancel_by, v.verified_at, coalesce(v.damaged, false) AS damaged,
    w.ordered_at AS verify_ordered_at, coalesce(w.ordered_by, '') AS verify_ordered_by, w.done_at AS verify_closed_at, coalesce(w.fault, '') AS verify_fault,
    o.ordered_at, coalesce(o.ordered_by, '') AS ordered_by, coalesce(o.fault, '') AS removal_fault,
    coalesce(e.reason, '') AS reason, e.warned_at, e.deleting_at, coalesce(e.fault, '') AS expiry_fault
FROM pgcourier.requests r
LEFT JOIN pgcourier.verifications v ON v.project_id = r.project_id AND v.request_id = r.request_id
LEFT JOIN pgcourier.verification_orders w ON w.project_id = r.project_id AND w.request_id = r.request_id
LEFT JOIN pgcourier.removal_orders o ON o.project_id = r.project_id AND o.request_id = r.request_id
LEFT JOIN pgcourier.expiries e ON e.project_id = r.project_id AND e.request_id = r.request_id
WHERE r.project_id = $1 AND r.request_id = $2`

	storyDownloads = `
SELECT coalesce(link_id, '') AS link_id, downloaded_by, address, user_agent, redirected, bytes, whole, started_at
FROM pgcourier.downloads WHERE project_id = $1 AND request_id = $2 ORDER BY started_at DESC LIMIT 50`
)

// Story returns what happened to a request; the zero Story if the ledger does not have it.
func (l *Ledger) Story(ctx context.Context, id export.ID) (Story, error) {
	what := "read the story of " + id.String()
	rows, err := read[Story](ctx, l, what, story, text(id.Project), text(id.Request))
	if err != nil || len(rows) == 0 {
		return Story{}, err
	}
	s := rows[0]
	for _, t := range []**time.Time{&s.CancelledAt, &s.VerifiedAt, &s.VerifyOrderedAt, &s.VerifyClosedAt, &s.RemovalOrderedAt, &s.WarnedAt, &s.DeletingAt} {
		*t = utc(*t)
	}
	s.Downloads, err = read[StoredDownload](ctx, l, what, storyDownloads, text(id.Project), text(id.Request))
	return s, err
}
