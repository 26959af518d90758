package ledger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
)

const (
	// The link's row is locked first. So the second of two requests of one client finds the download
	// that the first began, and of two clients only one gets the last use.
	lockLink = `SELECT FROM pgcourier.links WHERE link_id = $1 FOR UPDATE`

	resumeDownload = `
UPDATE pgcourier.downloads SET touched_at = clock_timestamp()
WHERE download_id = (
    SELECT download_id FROM pgcourier.downloads
    WHERE project_id = $1 AND request_id = $2 AND client = $3 AND NOT over AND link_id IS NOT DISTINCT FROM $4 AND downloaded_by = $5
        AND touched_at > clock_timestamp() - $6::interval
    ORDER BY started_at DESC LIMIT 1)
RETURNING download_id`

	useLink = `
UPDATE pgcourier.links SET downloads = downloads + 1
WHERE link_id = $1 AND revoked_at IS NULL AND expires_at > clock_timestamp() AND (max_downloads = 0 OR downloads < max_downloads)`

	beginDownload = `
INSERT INTO pgcourier.downloads (download_id, project_id, request_id, link_id, client, downloaded_by, address, user_agent, redirected)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	// Sent bytes may not have arrived, so a download may continue after its last byte. Bytes that are
	// sent twice count twice, so a client that repeats one part uses up its download.
	sentBytes = `
UPDATE pgcourier.downloads SET bytes = bytes + $2, touched_at = clock_timestamp(),
    whole = NOT redirected AND bytes + $2 >= $3, over = over OR $4 OR bytes + $2 >= 2 * $3
WHERE download_id = $1`

	dueDeliveries = `
SELECT r.project_id, r.request_id, r.attempt, r.payload
FROM pgcourier.requests r
LEFT JOIN pgcourier.verifications v ON v.project_id = r.project_id AND v.request_id = r.request_id
WHERE r.state = 'completed' AND r.removed_at IS NULL AND r.delivered_at IS NULL AND NOT r.refused
    AND position('"deliver":{'::bytea IN r.payload) > 0
    AND (convert_from(r.payload, 'UTF8')::json -> 'deliver' ->> 'after' IS DISTINCT FROM 'verified' OR v.damaged = false)
ORDER BY r.finished_at LIMIT $1`

	setDelivered = `UPDATE pgcourier.requests SET delivered_at = clock_timestamp() WHERE project_id = $1 AND request_id = $2 AND delivered_at IS NULL`

	unannouncedIssues = `
SELECT ` + linkColumns + `, r.outcome FROM pgcourier.links l JOIN pgcourier.requests r ON r.project_id = l.project_id AND r.request_id = l.request_id
WHERE issue_announced_at IS NULL ORDER BY issued_at LIMIT $1`

	unannouncedEnds = `
SELECT ` + linkColumns + `, r.outcome FROM pgcourier.links l JOIN pgcourier.requests r ON r.project_id = l.project_id AND r.request_id = l.request_id
WHERE end_announced_at IS NULL AND issue_announced_at IS NOT NULL AND least(revoked_at, expires_at) <= clock_timestamp()
ORDER BY least(revoked_at, expires_at) LIMIT $1`

	unannouncedDownloads = `
SELECT download_id, d.project_id, d.request_id, coalesce(link_id, '') AS link_id, downloaded_by, address, user_agent, redirected, bytes, whole, d.started_at, d.touched_at, r.outcome
FROM pgcourier.downloads d JOIN pgcourier.requests r ON r.project_id = d.project_id AND r.request_id = d.request_id
WHERE announced_at IS NULL AND (over OR whole AND d.touched_at <= clock_timestamp() - $2::interval OR d.touched_at <= clock_timestamp() - $1::interval) ORDER BY d.touched_at LIMIT $3`

	announcedIssue    = `UPDATE pgcourier.links SET issue_announced_at = clock_timestamp() WHERE link_id = $1`
	announcedEnd      = `UPDATE pgcourier.links SET end_announced_at = clock_timestamp() WHERE link_id = $1`
	announcedDownload = `UPDATE pgcourier.downloads SET announced_at = clock_timestamp(), over = true WHERE download_id = $1`
)

// BeginDownload implements handover.Records.
func (l *Ledger) BeginDownload(ctx context.Context, d handover.Download) (id string, err error) {
	var link *string
	if d.Link != "" {
		link = &d.Link
	}
	fresh := strings.ToLower(rand.Text())
	err = l.call(ctx, "begin a download of "+d.ID.String(), func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, lockLink, d.Link); err != nil {
				return err
			}
			if d.Resume {
				err := tx.QueryRow(ctx, resumeDownload, d.Project, d.Request, d.Client, link, d.By, handover.Idle).Scan(&id)
				if err == nil || !errors.Is(err, pgx.ErrNoRows) {
					return err
				}
			}
			if link != nil {
				tag, err := tx.Exec(ctx, useLink, d.Link)
				if err != nil {
					return err
				}
				if tag.RowsAffected() == 0 {
					return handover.ErrNotValid
				}
			}
			id = fresh
			_, err := tx.Exec(ctx, beginDownload, id, d.Project, d.Request, link, d.Client, text(d.By), text(d.Address), text(d.UserAgent), d.Redirected)
			return err
		})
	})
	return id, err
}

// SentBytes implements handover.Records.
func (l *Ledger) SentBytes(ctx context.Context, id string, bytes, size int64, over bool) error {
	return l.call(ctx, "note the bytes of download "+id, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, sentBytes, id, bytes, size, over)
		return err
	})
}

// DueDeliveries implements handover.Records.
func (l *Ledger) DueDeliveries(ctx context.Context, limit int) ([]handover.Delivery, error) {
	type row struct {
		Project string `db:"project_id"`
		Request string `db:"request_id"`
		Attempt int    `db:"attempt"`
		Payload []byte `db:"payload"`
	}
	rows, err := read[row](ctx, l, "look for links that are due", dueDeliveries, limit)
	out := make([]handover.Delivery, len(rows))
	for i, r := range rows {
		out[i] = handover.Delivery{ID: export.ID{Project: r.Project, Request: r.Request}, Attempt: r.Attempt, Payload: r.Payload}
	}
	return out, err
}

// Delivered implements handover.Records.
func (l *Ledger) Delivered(ctx context.Context, id export.ID) error {
	return l.call(ctx, "note the delivery of "+id.String(), func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, setDelivered, id.Project, id.Request)
		return err
	})
}

// traced adds the trace of an export to a row.
type traced struct {
	Outcome []byte `db:"outcome"`
}

func (t traced) trace() export.Trace {
	var o struct {
		Trace export.Trace `json:"trace"`
	}
	_ = json.Unmarshal(t.Outcome, &o) // an unreadable trace counts as none
	return o.Trace
}

// Changes implements handover.Records.
func (l *Ledger) Changes(ctx context.Context, idle time.Duration, limit int) ([]handover.Change, error) {
	type linkOf struct {
		linkRow
		traced
	}
	type downloadOf struct {
		ID         string    `db:"download_id"`
		Project    string    `db:"project_id"`
		Request    string    `db:"request_id"`
		Link       string    `db:"link_id"`
		By         string    `db:"downloaded_by"`
		Address    string    `db:"address"`
		UserAgent  string    `db:"user_agent"`
		Redirected bool      `db:"redirected"`
		Bytes      int64     `db:"bytes"`
		Whole      bool      `db:"whole"`
		StartedAt  time.Time `db:"started_at"`
		TouchedAt  time.Time `db:"touched_at"`
		traced
	}
	issues, err := read[linkOf](ctx, l, "look for links to announce", unannouncedIssues, limit)
	if err != nil {
		return nil, err
	}
	downloads, err := read[downloadOf](ctx, l, "look for downloads to announce", unannouncedDownloads, idle, handover.Settled, limit)
	if err != nil {
		return nil, err
	}
	ends, err := read[linkOf](ctx, l, "look for ends of links to announce", unannouncedEnds, limit)
	var out []handover.Change
	for _, r := range issues {
		out = append(out, handover.Change{Link: r.link(), Issued: true, Trace: r.trace()})
	}
	for _, r := range downloads {
		out = append(out, handover.Change{Trace: r.trace(), Download: &handover.Downloaded{
			DownloadID: r.ID, Bytes: r.Bytes, Whole: r.Whole, StartedAt: r.StartedAt.UTC(), FinishedAt: r.TouchedAt.UTC(),
			Download: handover.Download{
				ID: export.ID{Project: r.Project, Request: r.Request}, Link: r.Link, By: r.By, Address: r.Address, UserAgent: r.UserAgent, Redirected: r.Redirected,
			},
		}})
	}
	for _, r := range ends {
		out = append(out, handover.Change{Link: r.link(), Ended: true, Trace: r.trace()})
	}
	return out, err
}

// ChangeAnnounced implements handover.Records.
func (l *Ledger) ChangeAnnounced(ctx context.Context, c handover.Change) error {
	sql, id := announcedIssue, c.Link.ID
	switch {
	case c.Download != nil:
		sql, id = announcedDownload, c.Download.DownloadID
	case c.Ended:
		sql = announcedEnd
	}
	return l.call(ctx, fmt.Sprintf("note that %s is announced", id), func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, sql, id)
		return err
	})
}
