package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
)

var _ handover.Records = (*Ledger)(nil)

const (
	linkColumns = `link_id, l.project_id, l.request_id, l.attempt, issued_by, of_request, notify_email, max_downloads, downloads,
    issued_at, expires_at, revoked_at, coalesce(revoked_by, '') AS revoked_by`

	// The times are whole seconds: a token is made of them.
	issueLink = `
INSERT INTO pgcourier.links AS l (link_id, project_id, request_id, attempt, issued_by, of_request, notify_email, max_downloads, issued_at, expires_at)
SELECT $1, project_id, request_id, attempt, $4, $5, $6, $7, date_trunc('second', clock_timestamp()), date_trunc('second', clock_timestamp()) + $8::interval
FROM pgcourier.requests WHERE project_id = $2 AND request_id = $3 AND state = 'completed' AND removed_at IS NULL
ON CONFLICT (link_id) DO UPDATE SET link_id = l.link_id
RETURNING ` + linkColumns

	listLinks = `
SELECT ` + linkColumns + ` FROM pgcourier.links l
WHERE project_id = $1 AND ($2 = '' OR request_id = $2) ORDER BY issued_at DESC, link_id LIMIT 1000`

	revokeLink = `
UPDATE pgcourier.links l SET revoked_at = coalesce(revoked_at, clock_timestamp()), revoked_by = coalesce(revoked_by, $3),
    end_announced_at = CASE WHEN revoked_at IS NULL AND expires_at > clock_timestamp() THEN NULL ELSE end_announced_at END
WHERE project_id = $1 AND link_id = $2
RETURNING ` + linkColumns

	fileColumns = `r.outcome, CASE WHEN NOT r.refused THEN r.payload END AS payload, r.finished_at, a.object`

	fileTables = `pgcourier.requests r
    JOIN pgcourier.attempts a ON a.project_id = r.project_id AND a.request_id = r.request_id AND a.attempt = r.attempt AND a.object IS NOT NULL`

	// valid: the link has not ended. unused: it can open its file, because a use is left or because a
	// download continues, which needs no further use.
	openedLink = `
SELECT ` + linkColumns + `, ` + fileColumns + `,
    revoked_at IS NULL AND expires_at > clock_timestamp() AND r.removed_at IS NULL AND r.state = 'completed' AS valid,
    max_downloads = 0 OR downloads < max_downloads OR EXISTS (
        SELECT FROM pgcourier.downloads d WHERE d.project_id = l.project_id AND d.request_id = l.request_id AND d.link_id = l.link_id
            AND d.client = $3 AND NOT d.over AND d.touched_at > clock_timestamp() - $2::interval) AS unused
FROM pgcourier.links l JOIN ` + fileTables + ` ON r.project_id = l.project_id AND r.request_id = l.request_id WHERE link_id = $1`

	fileOf = `SELECT ` + fileColumns + ` FROM ` + fileTables + `
WHERE r.project_id = $1 AND r.request_id = $2 AND r.state = 'completed' AND r.removed_at IS NULL`
)

type linkRow struct {
	ID           string     `db:"link_id"`
	Project      string     `db:"project_id"`
	Request      string     `db:"request_id"`
	Attempt      int        `db:"attempt"`
	IssuedBy     string     `db:"issued_by"`
	OfRequest    bool       `db:"of_request"`
	NotifyEmail  string     `db:"notify_email"`
	MaxDownloads int        `db:"max_downloads"`
	Downloads    int        `db:"downloads"`
	IssuedAt     time.Time  `db:"issued_at"`
	ExpiresAt    time.Time  `db:"expires_at"`
	RevokedAt    *time.Time `db:"revoked_at"`
	RevokedBy    string     `db:"revoked_by"`
}

func (r linkRow) link() handover.Link {
	return handover.Link{
		ID: r.ID, Project: r.Project, Request: r.Request, Attempt: r.Attempt, IssuedBy: r.IssuedBy, OfRequest: r.OfRequest,
		NotifyEmail: r.NotifyEmail, MaxDownloads: r.MaxDownloads, Downloads: r.Downloads,
		IssuedAt: r.IssuedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), RevokedAt: utc(r.RevokedAt), RevokedBy: r.RevokedBy,
	}
}

type fileRow struct {
	record
	Object string `db:"object"`
}

func (r fileRow) file() (handover.File, error) {
	out, err := r.decode()
	if err != nil {
		return handover.File{}, err
	}
	if out.Artifact == nil {
		return handover.File{}, handover.ErrNoExport
	}
	return handover.NewFile(out.ID, r.Object, *out.Artifact, out.Trace), nil
}

// IssueLink implements handover.Records.
func (l *Ledger) IssueLink(ctx context.Context, k handover.Link, ttl time.Duration) (handover.Link, error) {
	rows, err := read[linkRow](ctx, l, "issue a link of "+k.Of().String(), issueLink,
		k.ID, k.Project, k.Request, text(k.IssuedBy), k.OfRequest, text(k.NotifyEmail), k.MaxDownloads, ttl)
	switch {
	case err != nil:
		return handover.Link{}, err
	case len(rows) == 0:
		return handover.Link{}, fmt.Errorf("issue a link of %s: %w", k.Of(), handover.ErrNoExport)
	}
	return rows[0].link(), nil
}

// Links implements handover.Records.
func (l *Ledger) Links(ctx context.Context, id export.ID) ([]handover.Link, error) {
	rows, err := read[linkRow](ctx, l, "list the links of "+id.String(), listLinks, id.Project, id.Request)
	out := make([]handover.Link, len(rows))
	for i, r := range rows {
		out[i] = r.link()
	}
	return out, err
}

// RevokeLink implements handover.Records.
func (l *Ledger) RevokeLink(ctx context.Context, project, link, by string) (handover.Link, error) {
	rows, err := read[linkRow](ctx, l, "revoke a link", revokeLink, text(project), text(link), text(by))
	switch {
	case err != nil:
		return handover.Link{}, err
	case len(rows) == 0:
		return handover.Link{}, handover.ErrNoLink
	}
	return rows[0].link(), nil
}

// OpenedLink implements handover.Records.
func (l *Ledger) OpenedLink(ctx context.Context, link string, client []byte) (handover.Link, handover.File, handover.Opens, error) {
	type row struct {
		linkRow
		fileRow
		Valid  bool `db:"valid"`
		Unused bool `db:"unused"`
	}
	rows, err := read[row](ctx, l, "look for a link", openedLink, text(link), handover.Idle, client)
	switch {
	case err != nil:
		return handover.Link{}, handover.File{}, handover.OpensNothing, err
	case len(rows) == 0:
		return handover.Link{}, handover.File{}, handover.OpensNothing, handover.ErrNoLink
	}
	opens := handover.OpensNothing
	switch r := rows[0]; {
	case r.Valid && r.Unused:
		opens = handover.OpensFile
	case r.Valid:
		opens = handover.OpensReceipt
	}
	f, err := rows[0].file()
	return rows[0].link(), f, opens, err
}

// FileOf implements handover.Records.
func (l *Ledger) FileOf(ctx context.Context, id export.ID) (handover.File, error) {
	rows, err := read[fileRow](ctx, l, "look for the file of "+id.String(), fileOf, text(id.Project), text(id.Request))
	switch {
	case err != nil:
		return handover.File{}, err
	case len(rows) == 0:
		return handover.File{}, fmt.Errorf("%s: %w", id, handover.ErrNoExport)
	}
	return rows[0].file()
}
